// SPDX-License-Identifier: AGPL-3.0-or-later

package genesistest

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// Output is what a process writes, readable while it writes.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Line returns the first line that holds all of the words, or "".
func (o *Output) Line(words ...string) string {
	for line := range strings.Lines(o.String()) {
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(line, word)
		}
		if !missing {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

// Wait returns the first line that holds all of the words, and ends the test if there is none after d.
func (o *Output) Wait(t testing.TB, d time.Duration, words ...string) (line string) {
	t.Helper()
	if !Eventually(t.Context(), d, func() bool { line = o.Line(words...); return line != "" }) {
		t.Fatalf("nobody said %q within %v:\n%s", words, d, o)
	}
	return line
}

// Eventually asks until done says yes, at most for d; it reports whether it did.
func Eventually(ctx context.Context, d time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return done()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}
