// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
)

// lifeFile stands beside a spool on disk while a container lives. It goes when loghub is told to stop, which hubinit does last;
// where it is found in another life, nobody said how the one before ended.
const lifeFile = "life.json"

// life is what lifeFile holds.
type life struct {
	Boot    string    `json:"boot"` // of hubinit
	Started time.Time `json:"started"`
}

// lastWritten is when something in a spool's directory was last written; zero if there is nothing.
func lastWritten(dir string) (at time.Time) {
	entries, _ := os.ReadDir(dir) // one that is not there holds nothing
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// beginLife notes that this container lives, and makes an event of a life before that ended without a word. seen is when the
// spool in dir was written last then.
func beginLife(runDir, dir string, seen time.Time, shared *source.Shared) error {
	state, err := initctl.ReadState(runDir)
	if err != nil {
		return nil // nobody who says when this life ends, as without hubinit
	}
	path := filepath.Join(dir, lifeFile)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		var last life
		if json.Unmarshal(data, &last) != nil {
			last.Boot = "unknown" // it was being written
		}
		if last.Boot == state.Boot {
			return nil // loghub alone was started again
		}
		if err := tellSilent(last.Boot, seen, shared); err != nil {
			return err
		}
	}
	if data, err = json.Marshal(life{Boot: state.Boot, Started: state.StartedAt}); err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o600)
}

// tellSilent makes the event. Its uid names the life that ended, so that it is told once.
func tellSilent(boot string, seen time.Time, shared *source.Shared) error {
	src, err := shared.Spool.Register("life", spool.State{})
	if err != nil {
		return err
	}
	rec := event.New(event.Options{Masker: shared.Masker, UID: boot + "end."}).Silent(seen, 1)
	b := spool.NewBatch(src)
	b.Record(0, 1, rec)
	if err := shared.Spool.Commit(b); err != nil {
		return err
	}
	if shared.Emit != nil {
		shared.Emit("stderr", rec)
	}
	return shared.Spool.Forget(src)
}

// endLife notes that the life ends as it should.
func endLife(dir string) error {
	if err := os.Remove(filepath.Join(dir, lifeFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
