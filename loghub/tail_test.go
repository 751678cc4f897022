// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/loghub/internal/jsonline"
)

// eventLine is a line of loghub receive, some seconds into a minute.
func eventLine(second int, level, service, message string) string {
	quoted, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"time":"2026-03-01T12:00:%02dZ","level":%q,"message":%s,"service.name":%q}`+"\n", second, level, quoted, service)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, path("web"), eventLine(1, "info", "web", "one")+eventLine(5, "warn", "web", "five")+eventLine(9, "error", "web", "nine"))
	writeFile(t, path("db"), eventLine(2, "info", "db", "two")+"\n"+eventLine(7, "info", "db", "seven"))
	writeFile(t, path("raw"), "2026-03-01T12:00:03Z INFO three\ncontinued\n2026-03-01T12:00:08Z ERROR eight")
	letter, err := json.Marshal(map[string]string{"error": "400 no", "time": "x", "record": base64.StdEncoding.EncodeToString(
		otlp.AppendRecord(nil, &otlp.Record{Time: uint64(time.Date(2026, 3, 1, 12, 0, 4, 0, time.UTC).UnixNano()), Body: otlp.String("dead")}))})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path("dead"), string(letter)+"\n")
	for args, want := range map[string]string{
		"web": "one|five|nine", "web db": "one|two|five|seven|nine", "db web raw dead": "one|two|three|continued|dead|five|seven|eight|nine",
		"web db --last 2": "seven|nine", "web -n 1": "nine", "web --where severity>=warn": "five|nine", "web db --where service.name=db": "two|seven",
		"web db --last 1 --where severity=info": "seven", "web --since 2026-03-01T12:00:05Z": "five|nine", "--since 1m web": "",
		"raw --where severity>=error": "eight", "dead --where hub.dead.error~400": "dead", "- web": "stdin|one|five|nine",
	} {
		words := strings.Fields(args)
		for i, word := range words {
			if _, err := os.Stat(path(word)); err == nil {
				words[i] = path(word)
			}
		}
		out, errs, code := command(t, "stdin\n", []string{"TZ=UTC"}, append([]string{"tail", "--format", "json"}, words...)...)
		var got []string
		for line := range strings.Lines(out) {
			var e struct{ Message string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			got = append(got, e.Message)
		}
		if strings.Join(got, "|") != want || code != 0 || errs != "" {
			t.Errorf("%s: %q, exit %d %s, want %q", args, got, code, errs, want)
		}
	}
}

func TestTailUsage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	writeFile(t, path, "x\n")
	for args, want := range map[string]string{
		"":                        "2 usage: loghub tail FILE…",
		"x --last 0":              "2 --last: must be at least 1, got 0",
		"x --where severity>=bad": "2 --where: column 11: \"bad\" is no level",
		"x --since soon":          "2 --since: \"soon\" is no time",
		"x --format xml":          "2 --format: must be pretty, json or logfmt, got \"xml\"",
		"x --as xml":              "2 --as: must be auto or one of",
		"x --nothing":             "2 unknown flag --nothing",
		"x - --follow":            "2 - is no file, and cannot be followed beside others",
		"y":                       "1 open y: no such file",
		"/":                       "1 / is a directory",
	} {
		_, errs, code := command(t, "", nil, append([]string{"tail"}, strings.Fields(strings.Replace(args, "x", path, 1))...)...)
		if got := strings.ReplaceAll(fmt.Sprint(code, " ", strings.TrimPrefix(errs, "loghub: ")), path, "x"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

// tailing is a `loghub tail --follow` and what it has shown.
func tailing(t *testing.T, out *os.File, args ...string) (shown *lockedBuffer, stop func() string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Args = append([]string{"loghub", "tail", "--follow"}, args...)
	cmd.Env = []string{"LOGHUB_TEST_MAIN=1", "TZ=UTC", "TERM=xterm"}
	shown, errs := &lockedBuffer{}, &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = shown, errs
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return shown, func() string {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, errs)
		}
		return errs.String()
	}
}

// --follow shows the last ten and what comes, over a rotation, and ends with INT.
func TestTailFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web")
	for i := range 15 {
		writeFile(t, path, eventLine(i, "info", "web", fmt.Sprintf("m%d", i)))
	}
	shown, stop := tailing(t, nil, path, "--format", "logfmt", "--where", "message!~never")
	wait := func(text string) {
		t.Helper()
		waitFor(t, 60*time.Second, text, func() bool { return strings.Contains(shown.String(), "message="+text+" ") })
	}
	wait("m14")
	if got := strings.Count(shown.String(), "\n"); got != 10 || strings.Contains(shown.String(), "=m4 ") {
		t.Errorf("%d lines:\n%s", got, shown)
	}
	writeFile(t, path, eventLine(20, "info", "web", "never")+eventLine(21, "info", "web", "before"))
	wait("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path+".1", eventLine(22, "info", "web", "late"))
	wait("late")
	writeFile(t, path, eventLine(23, "info", "web", "after"))
	wait("after")
	if notes := stop(); !strings.Contains(notes, "was replaced by another file") || strings.Contains(shown.String(), "never") {
		t.Errorf("%s\n%s", notes, shown)
	}
}

// On a terminal levels have colours, and what was logged cannot steer it.
func TestTailOnATerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web")
	writeFile(t, path, eventLine(1, "error", "web", "\x1b[2J\u009b31mred")+eventLine(2, "info", "web", "last"))
	for _, format := range []string{"pretty", "json"} {
		person, program := proctest.Terminal(t)
		shown := &lockedBuffer{}
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := person.Read(buf)
				_, _ = shown.Write(buf[:n])
				if err != nil {
					return // EIO: the program is gone
				}
			}
		}()
		_, stop := tailing(t, program, path, "--format", format)
		waitFor(t, 60*time.Second, "the last event", func() bool { return strings.Contains(shown.String(), "last") })
		stop()
		text := shown.String()
		if strings.ContainsAny(strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(text), "\x1b\u009b") {
			t.Errorf("%s: %q", format, text)
		}
		if coloured := strings.Contains(text, "\x1b[31merror\x1b[0m"); coloured != (format == "pretty") {
			t.Errorf("%s: %q", format, text)
		}
	}
}

// What a pipe gives is shown as it comes, not only at its end.
func TestTailStream(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Args, cmd.Env = []string{"loghub", "tail", "-"}, []string{"LOGHUB_TEST_MAIN=1"}
	shown := &lockedBuffer{}
	cmd.Stdin, cmd.Stdout = r, shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	fmt.Fprintln(w, "first")
	waitFor(t, 60*time.Second, "the first line", func() bool { return strings.Contains(shown.String(), "first") })
	fmt.Fprint(w, "panic: no\n\n") // a trace may follow
	waitFor(t, 60*time.Second, "the line that may be the head of a trace", func() bool { return strings.Contains(shown.String(), "panic: no") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // with its stdin open
		t.Error(err)
	}
	w.Close()
	// With --follow it is over when the other end is.
	if out, errs, code := command(t, "a\nb\n", nil, "tail", "-", "--follow", "--format", "logfmt"); out != "message=a\nmessage=b\n" || code != 0 {
		t.Errorf("%d %q %s", code, out, errs)
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	line := `192.0.2.1 - - [01/Mar/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 17 "-" "-"`
	writeFile(t, path, line+"\n\n"+`{"level":"warn","msg":"x","service.name":"forged","n":17}`)
	out, errs, code := command(t, "", []string{"TZ=UTC"}, "parse", path)
	first, second, _ := strings.Cut(out, "\n")
	if code != 0 || errs != "" || !strings.Contains(first, `"client.address":"192.0.2.1"`) || second != `{"level":"warn","message":"x","app.service.name":"forged","n":17}`+"\n" {
		t.Errorf("exit %d %s\n%s", code, errs, out)
	}
	for line := range strings.Lines(out) {
		if !jsonline.Is([]byte(line)) {
			t.Errorf("tail would not know %s", line)
		}
	}
	out, _, _ = command(t, line+"\n2026-03-01 12:00:00 ERROR no\n", []string{"TZ=UTC"}, "parse", "--explain")
	for _, want := range []string{"1  " + line + "\n", "format                     access\n", "message                    the whole line\n", "client.address             192.0.2.1  column 1\n",
		"http.response.body.size    17  column 65\n", "2  2026-03-01", "level    error  column 21: \"ERROR\"\n", "time     2026-03-01T12:00:00Z\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, _ = command(t, "x\n", nil, "parse", "--explain", "-", path)
	if !strings.Contains(out, "-:1  x\n    format   text\n    time     -  the line says none") || !strings.Contains(out, path+":3  {") {
		t.Errorf("%s", out)
	}
	out, _, _ = command(t, line+"\n", nil, "parse", "--as", "text")
	if strings.Contains(out, "client.address") {
		t.Errorf("--as text: %s", out)
	}
}

// A stack trace is one event, also among others and at the end.
func TestParseTrace(t *testing.T) {
	trace := "Traceback (most recent call last):\n  File \"app.py\", line 7, in <module>\n    fail()\nValueError: no\n"
	path := filepath.Join(t.TempDir(), "log")
	writeFile(t, path, "before\n"+trace+eventLine(1, "info", "web", "ours")+trace)
	out, errs, code := command(t, "", nil, "parse", path, "--explain")
	for _, want := range []string{"1  before\n", "2-5  Traceback (most recent call last): …\n    format", "exception.type     ValueError", "\n7-10  Traceback"} {
		if !strings.Contains(out, want) || code != 0 {
			t.Errorf("%d %s: no %q in\n%s", code, errs, want, out)
		}
	}
	out, errs, code = command(t, "", nil, "tail", path, "--where", "exception.type=ValueError or service.name=web", "--format", "logfmt")
	if strings.Count(out, "message=\"Traceback") != 2 || strings.Count(out, "\n") != 3 || strings.Index(out, "ours") < strings.Index(out, "Traceback") || code != 0 {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

// A line that is not of the format asked for says so, and where.
func TestParseMisfit(t *testing.T) {
	out, errs, code := command(t, "{\"a\":1,}\n{\"ä\":1}\nERROR x\njava.lang.Error\n\tat a.B.c(D)\n", nil, "parse", "--explain", "--as", "json")
	want := []string{"1  {\"a\":1,}\n    format    text\n    not json  column 8: JSON was expected\n", "2  {\"ä\":1}\n    format   json\n    time",
		"3-5  ERROR x …\n    format          text\n    not json        column 1: \"{\" was expected\n"}
	for _, w := range want {
		if !strings.Contains(out, w) || code != 0 {
			t.Errorf("%d %s: no %q in\n%s", code, errs, w, out)
		}
	}
	if out, _, _ := command(t, "redis -1\n", nil, "parse", "--explain", "--as", "redis"); !strings.Contains(out, "not redis  column 1: a digit was expected") {
		t.Error(out)
	}
}

func TestParseUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--as xml": "2 --as: must be auto or one of", "--pattern (": "2 --pattern: is no regular expression", "--nothing": "2 unknown flag", "nowhere": "1 open nowhere",
	} {
		_, errs, code := command(t, "", nil, append([]string{"parse"}, strings.Fields(args)...)...)
		if got := fmt.Sprint(code, " ", strings.TrimPrefix(errs, "loghub: ")); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

func TestFormats(t *testing.T) {
	text, _, _ := command(t, "", nil, "parse", "--formats")
	out, _, code := command(t, "", nil, "parse", "--formats", "--json")
	var list []struct {
		Name, Text string
		Attributes []string
		Open       bool
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) < 5 {
		t.Fatalf("%v %s", err, out)
	}
	for _, f := range list {
		if !strings.Contains(text, "\n"+f.Name) && !strings.HasPrefix(text, f.Name) || f.Text == "" || f.Attributes == nil {
			t.Errorf("%+v", f)
		}
	}
	if diff := cmp.Diff("text", list[len(list)-1].Name); diff != "" {
		t.Error(diff)
	}
}
