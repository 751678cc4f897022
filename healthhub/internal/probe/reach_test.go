// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// TestNoLookOutlivesItsContext looks at servers that take connections and say nothing, until its time is up or until it is told to
// end; each look ends then, and leaves neither goroutine nor descriptor.
func TestNoLookOutlivesItsContext(t *testing.T) {
	silent := listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { io.Copy(io.Discard, conn) })
	names := startNameServer(t)
	off := false
	looks := map[string]Func{}
	for name, check := range map[string]setting.Check{
		"http":         {Kind: setting.KindHTTP, URL: "http://" + silent + "/"},
		"https":        {Kind: setting.KindHTTP, URL: "https://" + silent + "/", Verify: &off},
		"tls":          {Kind: setting.KindTCP, Address: silent, TLS: true, Verify: &off},
		"cert":         {Kind: setting.KindCert, Address: silent, Verify: &off},
		"postgres":     {Kind: setting.KindPostgres, Address: silent},
		"postgres tls": {Kind: setting.KindPostgres, Address: silent, TLS: true},
		"redis":        {Kind: setting.KindRedis, Address: silent},
		"redis tls":    {Kind: setting.KindRedis, Address: silent, TLS: true, Verify: &off},
		"dns":          {Kind: setting.KindDNS, Name: "silent.test", Server: names.address},
		"exec":         shell("trap '' TERM; sleep 300"),
	} {
		f, err := New(check, Place{RunDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		looks[name] = f
	}
	end := map[string]func() (context.Context, context.CancelFunc){
		"time is up": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 50*time.Millisecond)
		},
		"told to end": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		},
	}
	fds, goroutines := countFDs(t), runtime.NumGoroutine()
	for how, begin := range end {
		for name, f := range looks {
			t.Run(name+", "+how, func(t *testing.T) {
				ctx, cancel := begin()
				defer cancel()
				done := make(chan Result, 1)
				go func() { done <- f(ctx) }()
				select {
				case r := <-done:
					if r.State != health.Fail {
						t.Errorf("%v %q", r.State, r.Text)
					}
				case <-time.After(10 * time.Second):
					t.Error("it goes on")
				}
			})
		}
	}
	waitFor(t, 10*time.Second, func() bool { return runtime.NumGoroutine() <= goroutines })
	waitFor(t, 10*time.Second, func() bool { return countFDs(t) <= fds })
}
