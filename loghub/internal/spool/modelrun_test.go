// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

var modelSeed = flag.Uint64("model.seed", 0, "run this one history of the model")

// How many histories are played for each mode, and for how long at most.
const (
	usualRuns = 700
	soakRuns  = 10000
	modelTime = 8 * time.Second
)

func modelRuns() uint64 {
	if os.Getenv("HUB_SOAK") != "" {
		return soakRuns
	}
	return usualRuns
}

func TestModel(t *testing.T) {
	for _, mode := range []Mode{OnDisk, MemoryFirst, InMemory, "mixed"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			first, runs := rand.Uint64N(1<<40), modelRuns()
			if *modelSeed != 0 {
				first, runs = *modelSeed, 1
			}
			enough := time.Now().Add(modelTime)
			for i := range runs {
				if i >= 50 && runs < soakRuns && time.Now().After(enough) { // a slow machine plays fewer
					break
				}
				if f := newModel(first+i, mode, "").run(); f != "" {
					t.Fatal(f)
				}
			}
		})
	}
}

// traps break the spool where it matters.
var traps = []struct {
	name string
	mode Mode
}{
	{"no fsync", OnDisk},
	{"no fsync of the directory", OnDisk},
	{"unlink before fsync", OnDisk},
	{"a crash that nobody knows of", OnDisk},
	{cursorGoesOn, OnDisk},
	{cursorGoesOn, "mixed"},
}

// cursorGoesOn lets the disk's cursor go past places that are not to be believed.
const cursorGoesOn = "the cursor goes on"

// TestModelNotices breaks the spool in turn; the model has to find out.
func TestModelNotices(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name+" "+string(trap.mode), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5000) {
				if newModel(seed+1, trap.mode, trap.name).run() != "" {
					t.Logf("noticed in history %d", seed+1)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}

// TestModelAgain plays histories in which the machine ends twice before the disk takes anything: records were lost in them
// while the cursor went on, and are when it does.
func TestModelAgain(t *testing.T) {
	shown := 0
	for _, h := range []struct {
		mode Mode
		seed uint64
	}{
		{OnDisk, 237}, {OnDisk, 315}, {OnDisk, 352}, {OnDisk, 689},
		{"mixed", 484}, {"mixed", 747}, {"mixed", 1314}, {"mixed", 1820}, {"mixed", 2452}, {"mixed", 2577},
	} {
		if f := newModel(h.seed, h.mode, "").run(); f != "" {
			t.Error(f)
		}
		if newModel(h.seed, h.mode, cursorGoesOn).run() != "" {
			shown++
		}
	}
	if shown == 0 {
		t.Errorf("the model plays other histories than it did: take those that TestModelNotices -v finds with %q", cursorGoesOn)
	}
}
