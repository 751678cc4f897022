// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOutput(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := NewOutput(f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if left, err := o.Run(ctx, time.Second); left != 0 || err != nil {
			t.Error(left, err)
		}
	}()
	var want bytes.Buffer
	for i := range 200 {
		data := bytes.Repeat([]byte{byte('a' + i%26)}, i*20)
		want.Write(data)
		o.Add(data)
		waitFor(t, 5*time.Second, "room", func() bool { return o.waiting() == 0 })
	}
	cancel()
	<-done
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) || o.Dropped() != 0 {
		t.Errorf("%d bytes of %d, %d dropped", len(got), want.Len(), o.Dropped())
	}
}

// pipe is one whose write end blocks, as a container's stdout does.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestOutputNobodyReads: a container's stdout that is stuck holds up nobody, and what it does not take is counted.
func TestOutputNobodyReads(t *testing.T) {
	r, w := pipe(t)
	o := NewOutput(w)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan int, 1)
	go func() {
		n, _ := o.Run(ctx, 100*time.Millisecond)
		left <- n
	}()
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const lines = 10000 // 10 MB; the pipe holds 64 KiB, the buffer 256
	added := make(chan struct{})
	go func() {
		defer close(added)
		for range lines {
			o.Add(line)
		}
	}()
	select {
	case <-added:
	case <-time.After(60 * time.Second):
		t.Fatal("Add waits for the stuck output")
	}
	cancel()
	rest := <-left
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	waiting := int64(lines*len(line)) - o.Dropped() - int64(len(got))
	if o.Dropped() == 0 || waiting < int64(rest) || waiting > outputBytes+int64(rest) {
		t.Errorf("of %d bytes: %d dropped, %d read, %d of %d left", lines*len(line), o.Dropped(), len(got), rest, waiting)
	}
	for chunk := range strings.Lines(string(got)) {
		if len(chunk) != len(line) && !strings.HasSuffix(string(got), chunk) {
			t.Fatalf("a line of %d bytes", len(chunk))
		}
	}
}
