// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/control"
	"cloud4.internal/hub/loghub/internal/source"
)

// sendLimit is for a message to the socket of syslog, whose queue may be full.
const sendLimit = 2 * time.Second

// way is one that lines take, and what became of its canaries.
type way struct {
	Name   string       `json:"name"`
	State  health.State `json:"state"`                  // unknown: it is not in use here
	Read   *float64     `json:"read_seconds,omitempty"` // until the last of its canaries was an event
	Acked  *float64     `json:"acknowledged_seconds,omitempty"`
	UIDs   []string     `json:"uids,omitempty"` // log.record.uid of the events
	Text   string       `json:"text,omitempty"`
	Action string       `json:"action,omitempty"`

	kind   string // wayFile, wayNew for a rotation, waySyslog, or "" for a pipe
	births []*birth
	begun  time.Time
	done   bool   // nothing more is expected
	absent bool   // it is not there, which Text tells
	broken string // why its canary could not be sent, or was refused
}

// birth is one canary of a way.
type birth struct {
	leg, uid    string
	read, acked time.Duration // since the way was begun; 0: not yet
}

// visit is one doctor at work.
type visit struct {
	conn  *control.Conn
	hello hello
	ways  []*way
	asked bool // for the facts at the end
}

func newVisit(conn *control.Conn, h hello) *visit {
	v := &visit{conn: conn, hello: h}
	add := func(name, kind string, legs ...string) *way {
		w := &way{Name: name, kind: kind}
		for _, leg := range legs {
			w.births = append(w.births, &birth{leg: leg})
		}
		v.ways = append(v.ways, w)
		return w
	}
	for _, name := range h.Pipes {
		add(name, "", name)
	}
	if len(h.Pipes) == 0 {
		add("stdout", "").leave("there is no pipe to read: hubinit makes it, where the service has no terminal")
	}
	file, rotation := add("file", wayFile, wayFile), add("rotation", wayNew, wayRenamed, wayNew)
	if h.NoFile != "" {
		file.broken, rotation.broken = "no file could be made: "+h.NoFile, "no file could be made: "+h.NoFile
	} else if h.Alone {
		file.Text = "log.files names none: a file of its own"
	}
	sys := add(cmp.Or(h.Syslog, source.DefaultSyslog), waySyslog, waySyslog)
	switch {
	case h.Syslog == "" && h.Asked:
		sys.broken = h.NoSyslog
	case h.Syslog == "":
		if sys.leave(h.NoSyslog); h.Deaf {
			sys.Action = "who calls syslog(3) here is not heard: let the container run as root, or name in log.syslog a path that programs " +
				"are told of; off says that it is meant so"
		}
	}
	if len(h.Texts) == 0 { // without a receiver
		for _, w := range v.ways {
			w.broken, w.absent = "", false
			w.leave("there is no receiver")
		}
	}
	return v
}

// leave says that a way is not there, and why.
func (w *way) leave(why string) {
	w.absent, w.done, w.Text = true, true, why
}

// fail says that nothing more comes by a way.
func (w *way) fail(err error) {
	w.broken, w.done = err.Error(), true
}

// begin sends the first canary of each way; the rotation waits until the file was read.
func (v *visit) begin() {
	for _, w := range v.ways {
		switch {
		case w.broken != "":
			w.done = true
		case w.done:
		case w.kind == "":
			v.send(w, func() error { return v.conn.Send(question{Canary: w.Name}) })
		case w.kind == wayFile:
			v.send(w, func() error { return v.write(v.hello.File, wayFile) })
		case w.kind == waySyslog:
			v.send(w, func() error { return v.syslog(w.Name) })
		}
	}
}

func (v *visit) send(w *way, do func() error) {
	w.begun = time.Now()
	if err := do(); err != nil {
		w.fail(err)
	}
}

// line is what is written by a way.
func (v *visit) line(leg string) string {
	return time.Now().UTC().Format(time.RFC3339Nano) + " DEBUG " + v.hello.Texts[leg] + " by loghub doctor\n"
}

// write adds a canary to a file, which it makes if it is not there; loghub run may be of another uid.
func (v *visit) write(path, leg string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(v.line(leg))
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

// rotate does what logrotate does: the service goes on with the renamed file for a while, and then with a new one.
func (v *visit) rotate() error {
	if err := os.Rename(v.hello.File, v.hello.File+".1"); err != nil {
		return err
	}
	return errors.Join(v.write(v.hello.File+".1", wayRenamed), v.write(v.hello.File, wayNew))
}

// syslog sends a message as the C libraries do (RFC 3164, facility user, debug).
func (v *visit) syslog(path string) error {
	c, err := net.DialTimeout("unixgram", path, sendLimit)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c, "<15>%s loghub-doctor[%d]: %s by loghub doctor", time.Now().Format(time.Stamp), os.Getpid(),
		v.hello.Texts[waySyslog])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("nobody takes messages from %s: whoever writes there waits", path)
	}
	return err
}

// ask asks loghub run; that it is gone is told by the answers.
func (v *visit) ask(q question) {
	v.asked = v.asked || q.Facts
	_ = v.conn.Send(q)
}

// take takes news.
func (v *visit) take(a answer, now time.Time) {
	for _, w := range v.ways {
		if a.Not != nil && w.kind == "" && w.Name == a.Not.Pipe {
			w.fail(errors.New(a.Not.Why))
		}
		if a.News != nil && !w.done {
			w.take(*a.News, now)
		}
		if a.News != nil && w.kind == wayNew && !w.done && w.begun.IsZero() && a.News.Leg == wayFile && a.News.Stage == canary.Read {
			v.send(w, v.rotate)
		}
	}
}

func (w *way) take(n canary.News, now time.Time) {
	w.done = true
	for _, b := range w.births {
		if b.leg == n.Leg {
			took := max(now.Sub(w.begun), 1)
			switch n.Stage {
			case canary.Read:
				b.read, b.uid = took, n.UID
			case canary.Acknowledged:
				b.acked = took
			case canary.Refused:
				w.fail(errors.New(n.Error))
				return
			}
		}
		w.done = w.done && b.acked > 0
	}
}

// done says whether nothing more is expected.
func (v *visit) done() bool {
	for _, w := range v.ways {
		if !w.done && !(w.kind == wayNew && w.begun.IsZero() && v.fileFailed()) {
			return false
		}
	}
	return true
}

// fileFailed says whether there is nothing to rotate.
func (v *visit) fileFailed() bool {
	for _, w := range v.ways {
		if w.kind == wayFile {
			return w.broken != ""
		}
	}
	return true
}
