// SPDX-License-Identifier: AGPL-3.0-or-later

// Package source reads what the container writes: the pipes of the service and
// the hubs, and files by glob. It turns each line into a record and commits it to
// the spool before the source moves on.
//
// # Pipes
//
// A pipe has no replay, so it is framed before it is consumed: tee(2) copies what
// stands in it to a scratch pipe, its lines go to the spool, and only then they
// are taken out. Taking out is a splice(2) into a file of the run directory, whose
// size therefore is the number of bytes ever taken from this pipe. splice moves
// and counts in one system call that a signal cannot part, so after a kill at any
// point the next process knows exactly which framed bytes still stand in the
// pipe, and drops them: nothing is lost and nothing framed twice. (Where the file
// cannot be had, a kill may frame the last 64 KiB twice.) A pipe is recognised by
// its inode and the machine's boot id. What hubinit read from it in between is
// taken from init.json and becomes a loss record. Where bytes are gone, a line that lost its end to that is taken as its
// first piece, and what follows in the middle of a line as a later one: as far as the counting file, or hubinit, knows
// what the last byte was.
//
// The copy for the container's own output is made from the same bytes, as the
// service wrote them: it is neither masked nor parsed, since the service could
// print there without us.
//
// # Files
//
// A file is its device and inode, and what was read of it: with each place the
// spool keeps a checksum of the file's first 1,024 bytes (so far as they were
// read) and of the 64 before the place. Where these do not hold, it is another
// file in the same inode, or was truncated and written again: a generation of its
// own, read from the beginning. Where they hold under another device or inode (an
// overlay mounted anew, a volume restored, copytruncate), it is the known file: it
// is read on, and its records keep the uid that names where it was first seen.
// That is asked of files that were not followed yet, for a minute from the start
// on, at the old path, among the matches and in the old directory; only then a
// file is said to be gone. Among files of equal content inode and path decide.
// Files of which nothing was read are not compared.
//
// A file is read from its first byte. A rename is followed: the old file is read
// until nothing was added for a minute since it has no name that matches (or until
// it is deleted and read to its end), the new one from its beginning. A file that
// was truncated is read anew as another generation. What it held and was not read
// is in the copy that logrotate's copytruncate made, if a file of the same
// directory holds the bytes read so far and changed since the last look: that one
// is read on in its stead. A new file that begins as a known one waits a moment
// for that truncation, lest its lines come twice. Zeros in front of a line, as a
// writer without O_APPEND leaves them behind a truncation, are passed over, holes at once.
//
// Without a copy what was seen and not read is a loss event in its place. Where a reader
// is behind, a scout counts the lines in front of it, so that the event can tell
// them; of what it had no time for the event has the bytes. What was written after
// the last look is lost uncounted. The same goes for a deleted file, which is held
// until it is read, unless its disk runs full before that.
//
// What was compressed by gzip before it was read to its end, while loghub was down or at
// once after copytruncate, is read on as a stream (leftover.go): files that are named after
// a known one, in its directory, begin as it did and have its bytes before the place.
//
// Files are looked at every 250 ms. One that was quiet for a minute needs one
// fstat(2) a look; where there are more than 256 of those they have turns of 2 s,
// and inotify tells sooner. Paths that lost their file are looked at for a minute.
// Patterns (doublestar) are expanded when a directory they depend on has changed,
// and every 30 s, never for more than a fiftieth of the time. A file that comes and
// is renamed to what no pattern matches between two looks, or is truncated twice,
// or both truncated and renamed while loghub is down, is not wholly seen.
//
// Which file a path leads to is decided without trust in who may write there: a
// link, also of a directory, is followed if root owns it, and what it leads to is
// judged; openat2(2), or a walk that holds each directory open. Regular files only,
// never below /proc, /sys, /dev, /run/secrets, /run/hub, /var/lib/hub, no file
// system of the kernel's own, no compressed files but as below. What matches and is not read is
// said once and listed (Files.Skipped).
//
// At most 10,000 files are followed. Where fewer descriptors are to be had, files
// that were read to their ends are closed, and opened again when they change.
//
// # Syslog
//
// /dev/log is a datagram socket: what the C libraries write to first, and musl's
// only. One goroutine does nothing but empty it into a mailbox of 4 MiB, because a
// queue of ten datagrams (net.unix.max_dgram_qlen) is all that stands between a
// writer and a wait; another makes records. When the spool is slow the mailbox
// sheds as a pipe does, with the loss in its place. Who wrote a message the kernel
// says (SO_PASSCRED), and /proc names the program while it lives; a text cannot
// claim another. A datagram is one record, newlines included; beyond 256 KiB it is
// cut and says so. A kill of loghub loses what stands in the socket and the mailbox,
// mostly nothing; the socket is made again at the start, and C libraries connect
// anew. While loghub is stopped (SIGSTOP) writers wait behind those ten.
//
// The socket takes the place of nothing but a dead socket of the same user. When
// the service brings a daemon that takes the path, that one has it; when the path
// is removed it is made again.
//
// # Lines
//
// Lines that are one event make one record, see package join; each pipe and file
// has a Joiner of its own. Lines that wait for others, and a line that waits for
// its end, are taken as they stand: in a pipe after 300 ms and 700 ms of quiet, in
// a file after a second, and a trace whose lines come and come after 5 s. Nothing
// waits in memory alone: what is held of a pipe is in the spool as its carry, from
// which a next process goes on; the place of a file stays before what is held, so
// that it is read again. Blank lines make no record.
//
// # Under pressure
//
// From 70 % of the spool's quota on files are not read further. Pipes must never
// stall the service, so they shed: trace and debug from 80 % on, info and lines
// without a level from 90 %, warn from 95 %, everything at the end. Each stretch
// of loss becomes a record in its place as soon as there is room. Until then it stands in the spool with the place behind it
// (proof.go), or behind the place, which stays where it is while everything is shed: then nothing at all is written. So what
// came and what is told is what was written, whatever kills loghub, and however often.
//
// # Limits
//
// Where somebody asked for it, records alike beyond so many in a window make none, see package limit. What is suppressed and
// not told yet stands in the spool with the place behind it (limited.go): delivered and told are what was written, whatever
// kills loghub. Pieces of lines and traces that a limit of length cut are kept, and so is what is fatal.
//
// # Canaries
//
// Lines of loghub doctor take the ways of others, through a file that is watched for it alone (Files.Probe) and through the
// socket. Into a pipe nobody but the service can write without risk, since a line of the service may be under way in pieces:
// there the goroutine that reads it makes the record between two lines, from a place it holds in the order of the pipe
// (Pipe.Canary). They are debug, carry hub.canary, and are not in the JSON copy.
//
// Left out: other compressions than gzip, /dev/log as a stream.
package source

import (
	"sync/atomic"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/rs/zerolog"
)

// Shared is what all sources use.
type Shared struct {
	Spool    *spool.Spool  // nil: records are not kept, only given to Emit
	Masker   *mask.Live    // nil: nothing is hidden
	Canaries *canary.Watch // nil: nobody sends any
	RunDir   string        // for the files that count what was taken from pipes; nothing below it is read as a log
	StateDir string        // nothing below it is read as a log; "": /var/lib/hub alone
	// Emit gets every record kept, for the JSON copy; nil: nobody wants them.
	Emit func(stream string, r *otlp.Record)
	Log  zerolog.Logger

	Counts Counts
}

// Marks of the spool's fill.
const (
	FilesStop = 0.70 // files are not read from here on; it is below where a spool goes from memory to the disk
	ShedDebug = 0.80 // and what is less than information is let go of
	shedInfo  = 0.90
	shedWarn  = 0.95
	shedAll   = 0.99
)

// shed says whether a pipe has to let a record of this severity go.
func shed(fill float64, severity uint8) bool {
	if severity == 0 {
		severity = 9
	}
	switch {
	case fill >= shedAll:
		return true
	case fill >= shedWarn:
		return severity < 17
	case fill >= shedInfo:
		return severity < 13
	case fill >= ShedDebug:
		return severity < 9
	}
	return false
}

// Stat is what a source says of itself in log.json.
type Stat struct {
	Name      string  `json:"name"`                 // "stdout", or the path of a file
	Position  int64   `json:"position"`             // bytes read
	Lag       int64   `json:"lag,omitempty"`        // bytes of a file not read yet
	Waiting   int64   `json:"waiting,omitempty"`    // lines in there, so far as they were counted
	Records   int64   `json:"records"`              // made since loghub started
	Rate      float64 `json:"rate"`                 // records a second in the last seconds
	Lost      int64   `json:"lost"`                 // records that were shed since then
	LostBytes int64   `json:"lost_bytes,omitempty"` // their bytes, and those whose lines nobody saw
	Zeros     int64   `json:"zeros,omitempty"`      // NUL bytes of a file that were passed over
	Format    string  `json:"format,omitempty"`     // of most of its last lines, see package parse
	Limited   int64   `json:"limited,omitempty"`    // records that a limit suppressed
	Misfits   int64   `json:"misfits,omitempty"`    // lines that were not of the format the settings fix
}

// counters are a source's figures, written by its goroutine, read by others.
type counters struct {
	position, lag, waiting, records, lost, lostBytes, zeros, misfits, limited atomic.Int64

	format  atomic.Value // string
	counted int64        // misfits of the current builder
}

// learn takes over what the builder found out about the lines.
func (c *counters) learn(b *event.Builder) {
	name, misfits := b.Format()
	if was, _ := c.format.Load().(string); was != name {
		c.format.Store(name)
	}
	if misfits < c.counted { // another builder: a new generation of the file
		c.counted = 0
	}
	c.misfits.Add(misfits - c.counted)
	c.counted = misfits
}

func (c *counters) stat(name string) Stat {
	format, _ := c.format.Load().(string)
	return Stat{
		Name: name, Position: c.position.Load(), Lag: c.lag.Load(), Waiting: c.waiting.Load(), Records: c.records.Load(),
		Lost: c.lost.Load(), LostBytes: c.lostBytes.Load(), Zeros: c.zeros.Load(),
		Format: format, Misfits: c.misfits.Load(), Limited: c.limited.Load(),
	}
}

// lose counts a lost record in both the figures and the loss record to be.
func (c *counters) lose(l *event.Loss, reason string, severity uint8, bytes int) {
	l.Add(reason, severity, bytes, time.Now())
	c.lost.Add(1)
	c.lostBytes.Add(int64(bytes))
}
