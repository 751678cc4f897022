// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for name, test := range map[string]struct {
		network, address string
		check            func(address string) setting.Check
		closed           string
	}{
		"tcp": {"tcp", "127.0.0.1:0", func(a string) setting.Check {
			return setting.Check{Kind: setting.KindTCP, Address: a}
		}, "connection refused"},
		"unix": {"unix", path, func(a string) setting.Check {
			return setting.Check{Kind: setting.KindUnix, Path: a}
		}, "no such socket"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen(test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			check := test.check(l.Addr().String())
			expect(t, look(t, check, time.Second), health.Pass, "answers")
			l.Close()
			got := look(t, check, time.Second)
			expect(t, got, health.Fail, test.closed)
			if !strings.Contains(got.Action, "start") {
				t.Errorf("action %q", got.Action)
			}
		})
	}
}

// What a look says when the network says no. What this process may not, or has run out of, is not the other side's fault.
func TestFailed(t *testing.T) {
	call := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, Err: os.NewSyscallError("connect", errno)}
	}
	for name, test := range map[string]struct {
		err   error
		state health.State
		text  string
	}{
		"no route":      {call(syscall.EHOSTUNREACH), health.Fail, "db:1: no route to it"},
		"kernel's time": {call(syscall.ETIMEDOUT), health.Fail, "db:1: no connection in time"},
		"reset":         {call(syscall.ECONNRESET), health.Fail, "db:1: connection reset"},
		"forbidden":     {call(syscall.EACCES), health.Unknown, "db:1: permission denied"},
		"no more files": {call(syscall.EMFILE), health.Unknown, "db:1: too many open files"},
		"no more ports": {call(syscall.EADDRNOTAVAIL), health.Unknown, "db:1: cannot assign requested address"},
		"other":         {call(syscall.EPROTO), health.Fail, "db:1: protocol error"},
		"no such name":  {&net.DNSError{Name: "db", IsNotFound: true, Err: "no such host"}, health.Fail, "db:1: no such host db"},
		"late name":     {&net.DNSError{Name: "db", IsTimeout: true, Err: "i/o timeout"}, health.Fail, "db:1: no answer in time for the name db"},
		"no resolver":   {&net.DNSError{Name: "db", Err: "server misbehaving"}, health.Fail, "db:1: the name db cannot be resolved: server misbehaving"},
	} {
		t.Run(name, func(t *testing.T) {
			got := connection.failed("db:1", test.err)
			expect(t, got, test.state, test.text)
			if got.Blind != (test.state == health.Unknown) || got.Action == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func BenchmarkTCP(b *testing.B) {
	address := listen(b, "tcp", "127.0.0.1:0", func(net.Conn) {})
	f, err := New(setting.Check{Kind: setting.KindTCP, Address: address}, Place{})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, f)
}
