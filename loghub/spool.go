// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/medium"
	"cloud4.internal/hub/loghub/internal/spool"
)

// openSpool opens the spool where the settings, the slot and the medium have it. A
// directory that cannot be used never stops it: then events wait in memory.
func (r *runner) openSpool() error {
	r.to = r.settings.receiver(os.Getenv)
	for _, note := range r.to.notes {
		r.log.Warn().Msg(note)
	}
	if r.to.url == "" {
		r.where = "none"
		return nil
	}
	dir := filepath.Join(initctl.StateDir(), "log")
	lies := medium.Of(dir)
	o := spool.Options{
		Mode: r.mode(lies), Dir: dir, Memory: r.hub.Spool(),
		Quota: int64(r.settings.Quota), Flush: r.settings.Fsync,
		DiskAfter: r.settings.DiskAfter, DiskPerDay: int64(r.settings.DiskPerDay),
	}
	o.MemoryQuota = memoryQuota(o.Quota, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
	r.where = "memory"
	if o.Mode == spool.InMemory {
		o.Quota = o.MemoryQuota
	} else {
		o.MemoryQuota = min(o.MemoryQuota, maxMemoryFirst)
		r.where, r.written = dir, lastWritten(dir)
	}
	s, err := spool.Open(o)
	if err != nil {
		return err
	}
	r.spool = s
	r.tellDurability(lies, o)
	return r.tellDamage()
}

// mode decides where events wait. A container that will not come back to its
// slot must not leave records there.
func (r *runner) mode(lies medium.Medium) spool.Mode {
	switch r.settings.Spool {
	case "disk":
		return spool.OnDisk
	case "memory":
		return spool.InMemory
	case "memory-first":
		return spool.MemoryFirst
	}
	slot := initctl.Slot()
	if slot != "0" {
		if slot == initctl.NoSlot {
			return spool.InMemory
		}
		if _, err := os.Stat(filepath.Join(identity.Dir(), "id.pem")); err != nil {
			return spool.InMemory
		}
	}
	switch lies.Kind {
	case medium.Memory:
		return spool.InMemory
	case medium.Flash:
		return spool.MemoryFirst
	}
	return spool.OnDisk
}

// tellDurability says in plain words what survives what, for the log and log.json.
func (r *runner) tellDurability(lies medium.Medium, o spool.Options) {
	st := r.spool.Stats()
	kill := "a kill of loghub takes nothing"
	if r.hub.Spool() == nil {
		kill = "a kill of loghub takes them, since no hubinit holds its memory"
	}
	on := cmp.Or(lies.Name, "the disk")
	volume := "the end of the container takes nothing that is on " + on + " while the volume is kept"
	if lies.Layer {
		volume = "docker rm takes everything, since no volume is mounted at " + initctl.StateDir()
	}
	switch {
	case st.Mode == spool.InMemory || st.Emergency:
		r.durable = "events wait in memory: " + kill + ", the end of the container takes what was not sent"
		if o.Mode != spool.InMemory {
			r.durable += fmt.Sprintf("; asked for was %s, but: %s", o.Mode, st.Trouble)
		} else if lies.Kind == medium.Memory {
			r.durable += "; " + o.Dir + " lies in memory too (" + lies.Name + ")"
		}
	case st.Mode == spool.MemoryFirst:
		r.durable = fmt.Sprintf("events wait in memory, and on %s in %s if they are not sent within %s or the container stops: %s, %s, "+
			"a power failure takes what waited for less and what the service had printed; log files are read again",
			on, o.Dir, o.DiskAfter, kill, volume)
	case lies.Kind == medium.Memory:
		r.durable = fmt.Sprintf("events wait in %s, which lies in memory (%s): a kill of loghub takes nothing, a power failure takes everything", o.Dir, lies.Name)
	default:
		r.durable = fmt.Sprintf("events wait on %s in %s: a kill of loghub takes nothing, %s, a power failure takes at most the last %s",
			on, o.Dir, volume, o.Flush)
	}
	r.durable += "; what stands in the service's pipes (64 KiB each) dies with process 1"
	level := r.log.Info()
	if st.Trouble != "" {
		level = r.log.Warn()
	}
	level.Str("mode", string(st.Mode)).Msg(r.durable)
}

// spoolDir is where the spool is on disk; "" if it is not.
func (r *runner) spoolDir() string {
	if r.where == "memory" || r.where == "none" {
		return ""
	}
	return r.where
}

// tellDamage makes an event of what Open had to skip.
func (r *runner) tellDamage() error {
	st := r.spool.Stats()
	if st.Foreign > 0 {
		r.log.Warn().Int("segments", st.Foreign).Str("spool", r.where).
			Msg("the spool holds what a later version of loghub wrote, or what is none of its segments: it is kept, and not sent by this one")
	}
	if st.Corrupt == 0 {
		return nil
	}
	r.log.Warn().Int("places", st.Corrupt).Int64("bytes", st.Skipped).Msg("the spool is damaged: what could be read is sent, the rest is skipped")
	src, err := r.spool.Register("spool", spool.State{})
	if err != nil {
		return err
	}
	now := time.Now()
	var loss event.Loss
	loss.AddBytes(event.ReasonDamaged, st.Skipped, now)
	b := spool.NewBatch(src)
	b.Record(0, 1, event.New(event.Options{UID: strconv.FormatInt(now.UnixMicro(), 36) + "spool."}).Loss(&loss, "spool", 1))
	if err := r.spool.Commit(b); err != nil && !errors.Is(err, spool.ErrFull) {
		return err
	}
	return r.spool.Forget(src)
}

// stopSpill is how long after TERM the receiver may take what waits, before what is
// in memory goes to the disk as well.
const stopSpill = 400 * time.Millisecond

// securing brings to the disk what still waits in memory stopSpill from now. done
// waits for that, or calls it off.
func (r *runner) securing() (done func()) {
	if r.spool == nil {
		return func() {}
	}
	off, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-off:
		case <-time.After(stopSpill):
			_ = r.spool.Secure() // it is done once more at the end, which tells
		}
	}()
	return func() {
		close(off)
		<-ended
	}
}
