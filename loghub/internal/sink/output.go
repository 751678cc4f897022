// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// outputBytes is how much of the copy waits for a slow log driver, per stream.
const outputBytes = 256 << 10

// writeBytes is how much is written at once: PIPE_BUF, which a pipe that polls
// writable takes without blocking (pipe(7)).
const writeBytes = 4096

// Output copies bytes to one of the container's own streams without ever making
// its caller wait.
type Output struct {
	f *os.File

	mu      sync.Mutex
	buf     []byte // what waits
	spare   []byte // an empty buffer to swap with
	more    chan struct{}
	dropped int64
}

// NewOutput makes an Output; a nil file takes everything and keeps nothing.
func NewOutput(f *os.File) *Output { return &Output{f: f, more: make(chan struct{}, 1)} }

// Add copies data, or drops it as a whole when there is no room.
func (o *Output) Add(data []byte) {
	if o.f == nil || len(data) == 0 {
		return
	}
	o.mu.Lock()
	if len(o.buf) > 0 && len(o.buf)+len(data) > outputBytes {
		o.dropped += int64(len(data))
	} else {
		o.buf = append(o.buf, data...)
	}
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// Dropped returns how many bytes were dropped.
func (o *Output) Dropped() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

// Run writes until ctx is done, then what waits still, for at most grace. It
// returns how many bytes it had to leave.
func (o *Output) Run(ctx context.Context, grace time.Duration) (left int, err error) {
	if o.f == nil {
		<-ctx.Done()
		return 0, nil
	}
	var end time.Time
	for {
		data := o.swap()
		for len(data) > 0 {
			if ctx.Err() != nil && end.IsZero() {
				end = time.Now().Add(grace)
			}
			if !end.IsZero() && !time.Now().Before(end) {
				return len(data) + o.waiting(), nil
			}
			n, err := o.write(data)
			if err != nil {
				return len(data), fmt.Errorf("copying to %s: %w", o.f.Name(), err)
			}
			data = data[n:]
		}
		if o.waiting() == 0 {
			if ctx.Err() != nil {
				return 0, nil
			}
			select {
			case <-ctx.Done():
			case <-o.more:
			}
		}
	}
}

func (o *Output) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)
}

// swap takes what waits. The two buffers change places, so that nothing is
// allocated while the stream flows; a quiet stream holds none.
func (o *Output) swap() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	data := o.buf
	o.buf, o.spare = o.spare[:0], data[:0]
	if len(data) == 0 || cap(o.spare) > outputBytes {
		o.spare = nil
	}
	return data
}

// write writes some of data once the stream takes it, or nothing after a while.
// The descriptor is shared with others, so its flags are not ours to change.
func (o *Output) write(data []byte) (int, error) {
	rc, err := o.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := 0
	var inner error
	err = rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if ready, err := unix.Poll(fds, 100); ready == 0 || err != nil {
			if err != nil && !errors.Is(err, unix.EINTR) {
				inner = err
			}
			return
		}
		m, err := unix.Write(int(fd), data[:min(len(data), writeBytes)])
		switch {
		case err == nil:
			n = m
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		default:
			inner = err
		}
	})
	return n, errors.Join(err, inner)
}
