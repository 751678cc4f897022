// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	// dnsAgain is after how long a question is asked again: a lost datagram says nothing about the server.
	dnsAgain = time.Second
	// maxDNSDatagram is more than the 512 bytes that come without EDNS (RFC 1035 §4.2.1).
	maxDNSDatagram = 2 << 10
	// maxDNSShown is how many addresses stand in a text.
	maxDNSShown = 4
)

// dnsCheck resolves a name: as every program here does (hosts file, search list, servers of resolv.conf), or by asking one server.
type dnsCheck struct {
	name     string
	family   string                // of the answers: "ip", "ip4" or "ip6"
	answers  []netip.Prefix        // every address must be in one of these; none: any will do
	server   string                // host:port; "": as programs do
	resolver net.Resolver          // for that
	question []dnsmessage.Question // for a server
}

// dnsLook makes the look of kind dns.
func dnsLook(s setting.Check) (Func, error) {
	d := &dnsCheck{name: s.Name, family: "ip", resolver: net.Resolver{PreferGo: true}}
	var err error
	if d.answers, err = setting.ParseAnswers(s.Answers); err != nil {
		return nil, err
	}
	types := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	switch s.Type {
	case "A":
		d.family, types = "ip4", types[:1]
	case "AAAA":
		d.family, types = "ip6", types[1:]
	}
	if s.Server == "" {
		return d.look, nil
	}
	if d.server, err = setting.ParseServer(s.Server); err != nil {
		return nil, err
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(s.Name, ".") + ".")
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		d.question = append(d.question, dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET})
	}
	return d.look, nil
}

func (d *dnsCheck) look(ctx context.Context) Result {
	start := time.Now()
	found, r := d.find(ctx)
	if len(found) > 0 {
		r = d.judge(found, start)
	}
	r.Values = []health.Value{value("answer", "s", time.Since(start).Seconds()), value("addresses", "", float64(len(found)))}
	return r
}

// find gives the addresses; without any, the result of the look.
func (d *dnsCheck) find(ctx context.Context) ([]netip.Addr, Result) {
	if d.server == "" {
		found, err := d.resolver.LookupNetIP(ctx, d.family, d.name)
		if err != nil {
			return nil, d.unresolved(err)
		}
		return found, Result{}
	}
	var found []netip.Addr
	for _, q := range d.question {
		reply, err := d.ask(ctx, q)
		if err != nil {
			return nil, answer.failed(d.server, err)
		}
		if r, ok := d.heed(reply.code); !ok {
			return nil, r
		}
		found = append(found, reply.addresses...)
	}
	if len(found) == 0 {
		return nil, fail("%s is known to %s, but has no address%s", d.name, d.server, ofFamily(d.family)).advise("correct the name, or give it an address in its zone")
	}
	return found, Result{}
}

func ofFamily(family string) string {
	switch family {
	case "ip4":
		return " of IPv4"
	case "ip6":
		return " of IPv6"
	}
	return ""
}

// unresolved tells a name that is not there from a resolver that does not work.
func (d *dnsCheck) unresolved(err error) Result {
	const see = "see /etc/resolv.conf, and whether its servers answer: a check with server asks one of them"
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && dns.IsNotFound:
		return fail("%s: no such name, or no address%s", d.name, ofFamily(d.family)).advise("correct the name, or start what has it")
	case ok && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return fail("%s: no answer in time from the servers of resolv.conf", d.name).advise(see)
	case ok:
		return fail("%s: the resolver failed: %s", d.name, dns.Err).advise(see)
	}
	return fail("%s: %v", d.name, err).advise(see)
}

// heed says what an answer without addresses means by its code (RFC 1035 §4.1.1); ok is true where it has some, or none of this type.
func (d *dnsCheck) heed(code dnsmessage.RCode) (r Result, ok bool) {
	switch code {
	case dnsmessage.RCodeSuccess:
		return Result{}, true
	case dnsmessage.RCodeNameError:
		return fail("%s: no such name, says %s (NXDOMAIN)", d.name, d.server).advise("correct the name, or add it to its zone"), false
	case dnsmessage.RCodeServerFailure:
		return fail("%s: the server %s failed (SERVFAIL)", d.name, d.server).
			advise("see its log: it cannot reach the servers of the zone, or the zone's signatures (DNSSEC) do not hold"), false
	case dnsmessage.RCodeRefused:
		return fail("%s: the server %s refuses to answer us (REFUSED)", d.name, d.server).advise("let this address ask it, or ask another server"), false
	}
	return fail("%s: the server %s answers with an error: %v", d.name, d.server, code).advise("see the log of the server"), false
}

// judge compares addresses with those that may be.
func (d *dnsCheck) judge(found []netip.Addr, start time.Time) Result {
	for _, a := range found {
		among := func(p netip.Prefix) bool { return p.Contains(a.Unmap()) }
		if len(d.answers) > 0 && !slices.ContainsFunc(d.answers, among) {
			return fail("%s is %s, which is none of answers", d.name, a.Unmap()).advise("see who answers so, or add the address to the check's answers")
		}
	}
	shown := make([]string, 0, maxDNSShown)
	for _, a := range found[:min(len(found), maxDNSShown)] {
		shown = append(shown, a.Unmap().String())
	}
	more := ""
	if n := len(found) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return pass("%s is %s%s, in %s", d.name, strings.Join(shown, ", "), more, took(start))
}

// dnsReply is what a server said to a question.
type dnsReply struct {
	code      dnsmessage.RCode
	cut       bool // there is more than fits into a datagram
	addresses []netip.Addr
}

// ask asks the server by datagrams, and over a connection where the answer does not fit into one (RFC 7766).
func (d *dnsCheck) ask(ctx context.Context, q dnsmessage.Question) (dnsReply, error) {
	id := uint16(rand.Uint32())
	message := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	query, err := message.AppendPack(make([]byte, 2, 2+512))
	if err != nil {
		return dnsReply{}, err
	}
	reply, err := d.askByDatagram(ctx, query[2:], id, q)
	if err != nil || !reply.cut {
		return reply, err
	}
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	return d.askByConnection(ctx, query, id, q)
}

func (d *dnsCheck) askByDatagram(ctx context.Context, query []byte, id uint16, q dnsmessage.Question) (dnsReply, error) {
	conn, err := connect(ctx, "udp", d.server)
	if err != nil {
		return dnsReply{}, err
	}
	defer conn.Close()
	buf := make([]byte, maxDNSDatagram)
	for {
		if _, err := conn.Write(query); err != nil {
			return dnsReply{}, err
		}
		conn.within(ctx, dnsAgain)
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && !conn.over() {
				break // and once more
			}
			if err != nil {
				return dnsReply{}, err
			}
			if reply, ok := parseDNS(buf[:n], id, q); ok {
				return reply, nil
			}
			// Not an answer to this question: anybody can send datagrams.
		}
	}
}

func (d *dnsCheck) askByConnection(ctx context.Context, query []byte, id uint16, q dnsmessage.Question) (dnsReply, error) {
	conn, err := connect(ctx, "tcp", d.server)
	if err != nil {
		return dnsReply{}, err
	}
	defer conn.Close()
	if _, err := conn.Write(query); err != nil {
		return dnsReply{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return dnsReply{}, err
	}
	data := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, data); err != nil {
		return dnsReply{}, err
	}
	reply, ok := parseDNS(data, id, q)
	if !ok {
		return dnsReply{}, errors.New("it does not speak DNS")
	}
	return reply, nil
}

// parseDNS reads an answer to a question; ok is false for anything else. Addresses count whatever name they stand under: a name may
// be an alias.
func parseDNS(data []byte, id uint16, q dnsmessage.Question) (reply dnsReply, ok bool) {
	var p dnsmessage.Parser
	header, err := p.Start(data)
	if err != nil || header.ID != id || !header.Response {
		return reply, false
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || asked.Class != q.Class || !strings.EqualFold(asked.Name.String(), q.Name.String()) {
		return reply, false
	}
	if p.SkipAllQuestions() != nil {
		return reply, false
	}
	reply = dnsReply{code: header.RCode, cut: header.Truncated}
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return reply, true
		}
		if err != nil {
			return reply, reply.cut // what was cut off may end anywhere
		}
		switch {
		case h.Type != q.Type || h.Class != q.Class:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeA:
			var a dnsmessage.AResource
			a, err = p.AResource()
			reply.addresses = append(reply.addresses, netip.AddrFrom4(a.A))
		default:
			var a dnsmessage.AAAAResource
			a, err = p.AAAAResource()
			reply.addresses = append(reply.addresses, netip.AddrFrom16(a.AAAA))
		}
		if err != nil {
			return reply, reply.cut
		}
	}
}
