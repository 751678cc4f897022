// SPDX-License-Identifier: AGPL-3.0-or-later

// Package join finds the lines that are one event: a stack trace, and the log line in front of it. Each stream has a
// Joiner of its own, so what several programs or files say is never mixed.
//
// # What is joined
//
// Machines written by hand, without regular expressions, one for each kind of trace: Java, .NET and JavaScript (whose
// frames all begin with "at "), Python (chained tracebacks and exception groups too), Go (panics, fatal errors, dumps of
// goroutines, reports of the race detector, the frames of zap and pkg/errors), Ruby, PHP, Rust (panics, anyhow, eyre), and
// the console loggers of .NET and java.util.logging, whose messages stand in lines of their own. testdata shows them all.
//
// The line in front belongs to the trace if a program may have logged both at once: it has a level from warning on in
// capitals within its first 96 bytes, or names an exception ("…Error", "…Exception" before a colon, a bracket or its
// end), and the exception, traceback or frame is the very next line that is not blank.
//
// A second exception begins a record of its own, unless the language says that it belongs to the first: "Caused by",
// "During handling of the above exception", "Next". Ruby says nothing, so what follows an exception that nobody caught at
// once is taken for its cause. A line that begins with { is JSON, and always alone. Other indented lines are joined only
// where a trace began. A line that none of the machines knows ends the group.
//
// # Lines with a prefix
//
// Where journald, docker compose or a logger puts the same in front of each line of a trace (see prefix), the machines judge
// what stands behind it. What belongs to a trace would then also pass for an event of its own, so the lines are joined only if
// a frame is among the first of them, and all but the figures of the time is the same on each.
//
// # What waits
//
// Nothing, for nearly every line: whether a trace can begin with it is seen from its first byte, its first bytes and three
// searches for rare letters (see plain). That takes 15 ns of a JSON or indented line, 45 to 70 of other lines of 140 bytes,
// 300 where every line is an error (BenchmarkTake, a virtual machine on an AMD EPYC). A line that may be the head of a trace
// waits for the next one. The next line decides, save that the message of an exception may have several lines, which look like
// anything: up to 16 wait for a frame behind them; if none comes they are judged again, each by itself.
//
// How long is the caller's to say (see End). It does harm both ways: a head that is taken too soon stands apart from its
// trace for ever, one that waits is late. Sources wait 300 ms in a pipe: programs write a trace at once, and 300 ms are
// three periods of the kernel's CPU quota, after which even a throttled program goes on; on the other hand no alarm is
// worse for a third of a second. Of a file, which is only looked at four times a second, they wait one second.
//
// # Bounds
//
// A group has at most 1,000 lines and 1 MiB. Where that cuts it the rest is a group of its own, which says that it is a
// part; so are lines that come when the trace was taken already because of the time.
//
// # Lines in pieces
//
// A line of more than 1 MiB, and one whose end does not come in time, is taken in pieces that are numbered; each but the
// last is open. Pieces are not judged.
//
// Left out: lines of a message that only the program knows, such as the notes of a Python exception and what follows the first
// line of a message of java.util.logging; that logger in other languages than English, and behind a prefix; prefixes that
// count their lines.
package join
