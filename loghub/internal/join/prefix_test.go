// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestTwoBlanks: eight bytes at once are the same as each by itself.
func TestTwoBlanks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 200000 {
		line := make([]byte, random.IntN(40))
		for i := range line {
			line[i] = " !a\x00\x1f\xa0 \xff"[random.IntN(8)]
			if line[i] == ' ' && i > 0 && line[i-1] == ' ' && random.IntN(8) > 0 {
				line[i] = 'b'
			}
		}
		want := bytes.Contains(line, []byte("  "))
		if got := twoBlanks(line); got != want {
			t.Fatalf("%q: %v", line, got)
		}
		if want {
			found++
		}
	}
	if found < 1000 || found > 190000 {
		t.Errorf("%d lines had two blanks", found)
	}
}
