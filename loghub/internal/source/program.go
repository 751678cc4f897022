// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/process"
	"golang.org/x/sys/unix"
)

// Attributes that say who wrote to a socket. No text can set them.
const (
	attrPID  = "process.pid"
	attrName = "process.executable.name"
	attrPath = "process.executable.path"
	attrUser = "process.real_user.id"
	attrGrp  = "process.real_group.id"
)

const (
	// A process is looked up again after programFresh: its number cannot have gone round all numbers in that time,
	// but it may have become another program by execve(2).
	programFresh = 100 * time.Millisecond
	maxPrograms  = 256 // remembered at once
)

// program is the sender of a message.
type program struct {
	start   string // time of its start in ticks since boot, "" if nobody could tell
	comm    string
	checked time.Time
	attrs   []byte // encoded
}

// programs remembers senders by what the kernel says of them.
type programs map[unix.Ucred]*program

// of finds the program behind the credentials of a message that has just come: a sender that lives for a moment has to
// be looked up at once.
func (p programs) of(c unix.Ucred, now time.Time) *program {
	known := p[c]
	if known != nil && now.Sub(known.checked) < programFresh {
		return known
	}
	stat, _ := process.Read(int(c.Pid)) // of one that is gone nothing is known
	comm, start := stat.Name, stat.Start
	if known != nil && known.start == start && known.comm == comm && (start != "" || c.Pid == 0) {
		known.checked = now
		return known
	}
	if len(p) >= maxPrograms {
		clear(p)
	}
	fresh := &program{start: start, comm: comm, checked: now, attrs: describe(c, comm)}
	p[c] = fresh
	return fresh
}

// describe encodes what is known of a sender.
func describe(c unix.Ucred, comm string) (enc []byte) {
	add := func(key string, v otlp.Value) { enc = otlp.AppendAttribute(enc, otlp.KeyValue{Key: key, Value: v}) }
	if c.Pid > 0 { // 0: it is not visible from here
		add(attrPID, otlp.Int(int64(c.Pid)))
		exe, err := os.Readlink("/proc/" + strconv.Itoa(int(c.Pid)) + "/exe")
		if exe = strings.TrimSuffix(exe, " (deleted)"); err == nil && exe != "" {
			add(attrPath, otlp.String(strings.ToValidUTF8(exe, "\uFFFD")))
			comm = filepath.Base(exe)
		}
		if comm != "" {
			add(attrName, otlp.String(strings.ToValidUTF8(comm, "\uFFFD")))
		}
	}
	add(attrUser, otlp.Int(int64(c.Uid)))
	add(attrGrp, otlp.Int(int64(c.Gid)))
	return enc
}

// ofSender says whether describe sets an attribute.
func ofSender(key string) bool {
	return key == attrPID || key == attrName || key == attrPath || key == attrUser || key == attrGrp
}
