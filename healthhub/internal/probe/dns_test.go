// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// nameServer answers questions about the names of a zone, by datagrams and over connections.
type nameServer struct {
	t         testing.TB
	address   string
	questions atomic.Int64
}

func startNameServer(t testing.TB) *nameServer {
	t.Helper()
	n := &nameServer{t: t}
	n.address = listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		var size [2]byte
		io.ReadFull(conn, size[:])
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		io.ReadFull(conn, query)
		for _, reply := range n.answer(query, false) {
			conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}
	})
	conn, err := net.ListenPacket("udp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, reply := range n.answer(buf[:size], true) {
				conn.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return n
}

// answer gives the messages that a question is answered with.
func (n *nameServer) answer(query []byte, datagram bool) (replies [][]byte) {
	count := n.questions.Add(1)
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	add := func(name string, body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}, Body: body,
		})
	}
	v4 := func(name string, last byte) {
		if q.Type == dnsmessage.TypeA {
			add(name, &dnsmessage.AResource{A: [4]byte{10, 0, 0, last}})
		}
	}
	switch name := q.Name.String(); name {
	case "two.test.":
		v4(name, 1)
		v4(name, 2)
	case "six.test.":
		if q.Type == dnsmessage.TypeAAAA {
			add(name, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("fd00::1").As16()})
		}
	case "alias.test.":
		add(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("two.test.")})
		v4("two.test.", 1)
	case "empty.test.":
	case "broken.test.":
		m.RCode = dnsmessage.RCodeServerFailure
	case "refused.test.":
		m.RCode = dnsmessage.RCodeRefused
	case "strange.test.":
		m.RCode = dnsmessage.RCodeNotImplemented
	case "many.test.":
		m.Truncated = datagram
		for i := range byte(200) {
			if !datagram {
				v4(name, i)
			}
		}
	case "silent.test.":
		return nil
	case "lost.test.":
		if count == 1 {
			return nil
		}
		v4(name, 1)
	case "forged.test.":
		forged := m
		forged.ID++
		forged.RCode = dnsmessage.RCodeNameError
		data, _ := forged.Pack()
		other := m
		other.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.test."), Type: q.Type, Class: q.Class}}
		data2, _ := other.Pack()
		replies = append(replies, []byte("rubbish"), data, data2, query)
		v4(name, 1)
	default:
		m.RCode = dnsmessage.RCodeNameError
	}
	data, err := m.Pack()
	if err != nil {
		n.t.Error(err)
	}
	return append(replies, data)
}

func TestDNS(t *testing.T) {
	server := startNameServer(t)
	for name, test := range map[string]struct {
		check setting.Check
		state health.State
		text  string
	}{
		"two":            {setting.Check{Name: "two.test"}, health.Pass, "two.test is 10.0.0.1, 10.0.0.2, in "},
		"with a dot":     {setting.Check{Name: "two.test."}, health.Pass, "10.0.0.1, 10.0.0.2"},
		"letters":        {setting.Check{Name: "two.test", Type: "A"}, health.Pass, "10.0.0.1"},
		"alias":          {setting.Check{Name: "alias.test"}, health.Pass, "10.0.0.1"},
		"six":            {setting.Check{Name: "six.test"}, health.Pass, "fd00::1"},
		"six wanted":     {setting.Check{Name: "six.test", Type: "AAAA"}, health.Pass, "fd00::1"},
		"no four":        {setting.Check{Name: "six.test", Type: "A"}, health.Fail, "is known to " + server.address + ", but has no address of IPv4"},
		"no address":     {setting.Check{Name: "empty.test"}, health.Fail, "but has no address"},
		"no such name":   {setting.Check{Name: "none.test"}, health.Fail, "no such name, says " + server.address + " (NXDOMAIN)"},
		"broken":         {setting.Check{Name: "broken.test"}, health.Fail, "failed (SERVFAIL)"},
		"refused":        {setting.Check{Name: "refused.test"}, health.Fail, "refuses to answer us (REFUSED)"},
		"strange":        {setting.Check{Name: "strange.test"}, health.Fail, "answers with an error"},
		"many":           {setting.Check{Name: "many.test"}, health.Pass, "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3 and 196 more"},
		"forged first":   {setting.Check{Name: "forged.test", Type: "A"}, health.Pass, "10.0.0.1"},
		"wanted answers": {setting.Check{Name: "two.test", Answers: []string{"10.0.0.1", "10.0.0.2"}}, health.Pass, "10.0.0.1"},
		"wanted network": {setting.Check{Name: "two.test", Answers: []string{"10.0.0.0/8"}}, health.Pass, "10.0.0.1"},
		"other answers":  {setting.Check{Name: "two.test", Answers: []string{"10.0.0.1"}}, health.Fail, "two.test is 10.0.0.2, which is none of answers"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind, test.check.Server = setting.KindDNS, server.address
			got := look(t, test.check, 10*time.Second)
			expect(t, got, test.state, test.text)
			if (got.State == health.Pass) != (got.Action == "") {
				t.Errorf("action %q", got.Action)
			}
			acceptable(t, got)
			if v := measured(t, got, "answer"); v.Value <= 0 {
				t.Errorf("%+v", v)
			}
		})
	}
	silent := setting.Check{Kind: setting.KindDNS, Name: "silent.test", Server: server.address}
	expect(t, look(t, silent, 200*time.Millisecond), health.Fail, "no answer in time")
	silent.Server = "127.0.0.1:" + freePort(t)
	expect(t, look(t, silent, 10*time.Second), health.Fail, "connection refused")
}

// A datagram may get lost.
func TestDNSAsksAgain(t *testing.T) {
	t.Parallel()
	server := startNameServer(t)
	check := setting.Check{Kind: setting.KindDNS, Name: "lost.test", Type: "A", Server: server.address}
	expect(t, look(t, check, 10*time.Second), health.Pass, "10.0.0.1")
	if n := server.questions.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// Without a server a name is resolved as programs do it; here resolv.conf is one that names ours.
func TestDNSAsProgramsDo(t *testing.T) {
	server := startNameServer(t)
	for name, want := range map[string]struct {
		state health.State
		text  string
	}{
		"two.test.":    {health.Pass, "10.0.0.1, 10.0.0.2"},
		"six.test.":    {health.Pass, "fd00::1"},
		"none.test.":   {health.Fail, "no such name, or no address"},
		"broken.test.": {health.Fail, "the resolver failed: "},
		"localhost":    {health.Pass, "127.0.0.1"}, // of the hosts file
	} {
		d := &dnsCheck{name: name, family: "ip", resolver: net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, server.address)
		}}}
		got := d.look(t.Context())
		expect(t, got, want.state, want.text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	d := &dnsCheck{name: "silent.test.", family: "ip", resolver: net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, server.address)
	}}}
	expect(t, d.look(ctx), health.Fail, "no answer in time")
	expect(t, look(t, setting.Check{Kind: setting.KindDNS, Name: "localhost", Type: "A"}, 10*time.Second), health.Pass, "127.0.0.1")
}

func FuzzDNS(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("two.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for _, name := range []string{"two.test.", "alias.test.", "many.test.", "none.test."} {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: q.Type, Class: q.Class}}}
		query, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		for _, reply := range (&nameServer{t: f}).answer(query, false) {
			f.Add(reply)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, ok := parseDNS(data, 7, q)
		if ok && (len(data) < 12 || len(reply.addresses) > len(data)) {
			t.Errorf("%x: %+v", data, reply)
		}
	})
}

func BenchmarkDNS(b *testing.B) {
	server := startNameServer(b)
	f, err := New(setting.Check{Kind: setting.KindDNS, Name: "two.test", Type: "A", Server: server.address}, Place{})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, f)
}

func TestDNSAnswerOfAnotherQuestion(t *testing.T) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("two.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q}}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	upper := q
	upper.Name = dnsmessage.MustNewName(strings.ToUpper("two.test."))
	if _, ok := parseDNS(data, 7, upper); !ok {
		t.Error("letters of another case are another name")
	}
	other := q
	other.Type = dnsmessage.TypeAAAA
	if _, ok := parseDNS(data, 7, other); ok {
		t.Error("a question of another type was answered")
	}
	if _, ok := parseDNS(data, 8, q); ok {
		t.Error("another question was answered")
	}
}
