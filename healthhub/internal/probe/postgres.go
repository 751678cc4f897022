// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// The protocol is "Frontend/Backend Protocol" of PostgreSQL's documentation, version 3.0, which every server since 7.4 speaks.
const (
	postgresVersion = 3 << 16
	sslRequest      = 1234<<16 | 5679

	maxPostgresMessage = 16 << 10
	maxPostgresReplies = 64 // parameters, and notices
)

// postgresLook makes the look of kind postgres: the start of a session, up to where the server wants a password, lets us in or says why
// not. One that lets us in is left with due words, so that nothing of the look stands in its log; one that would, but knows no such
// user, logs that.
func postgresLook(s setting.Check, files *identity.Files) Func {
	user := s.User
	if user == "" {
		user = setting.PostgresUser
	}
	startup := postgresStartup("user", user, "database", setting.PostgresUser, "application_name", "healthhub")
	g := newGreeting(s, files, setting.PostgresAddress)
	g.ask = func(conn net.Conn) (Result, bool) { return askPostgresTLS(g.address, conn) }
	g.talk = func(conn net.Conn) (Result, error) {
		if _, err := conn.Write(startup); err != nil {
			return Result{}, err
		}
		said, err := readPostgres(conn)
		if err != nil {
			return Result{}, err
		}
		if said.ready {
			conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate: it is no loss if it does not arrive
		}
		return said.judge(user), nil
	}
	return g.look
}

// postgresStartup makes a StartupMessage of names and values.
func postgresStartup(pairs ...string) []byte {
	message := binary.BigEndian.AppendUint32(make([]byte, 4, 128), postgresVersion)
	for _, word := range pairs {
		message = append(append(message, word...), 0)
	}
	message = append(message, 0)
	binary.BigEndian.PutUint32(message, uint32(len(message)))
	return message
}

// askPostgresTLS asks for TLS with an SSLRequest, which is answered by one byte. ok is false where the look ends with that.
func askPostgresTLS(where string, conn net.Conn) (r Result, ok bool) {
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), sslRequest)
	if _, err := conn.Write(request); err != nil {
		return answer.failed(where, err), false
	}
	var word [1]byte
	if _, err := io.ReadFull(conn, word[:]); err != nil {
		return answer.failed(where, err), false
	}
	switch word[0] {
	case 'S':
		return Result{}, true
	case 'N':
		return fail("%s: the server has TLS turned off", where).advise("set ssl = on there, or look without tls"), false
	}
	return answer.failed(where, errNotPostgres), false
}

// errNotPostgres says that what was answered is no message of the protocol.
var errNotPostgres = errors.New("it does not speak the protocol of PostgreSQL")

// postgresReply is what a server said to the start of a session.
type postgresReply struct {
	auth    uint32 // what it wants of us; 0: nothing
	ready   bool   // it let us in
	version string // server_version; only when it lets us in
	standby bool
	code    string // SQLSTATE of an error; "": none
	message string // of the error
}

// readPostgres reads up to the first message that tells how the server is.
func readPostgres(r io.Reader) (said postgresReply, err error) {
	in := bufio.NewReaderSize(r, 1<<10)
	for range maxPostgresReplies {
		kind, err := in.ReadByte()
		if err != nil {
			return said, err
		}
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return said, err
		}
		length := binary.BigEndian.Uint32(size[:])
		if length < 4 || length > maxPostgresMessage {
			return oldPostgresError(kind, size[:], in)
		}
		body := make([]byte, length-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return said, err
		}
		if done, err := said.take(kind, body); done || err != nil {
			return said, err
		}
	}
	return said, errNotPostgres
}

// oldPostgresError reads an error as version 2 had it, a text that ends with a zero: so says a server to this day that it cannot start a
// process for us.
func oldPostgresError(kind byte, begin []byte, in *bufio.Reader) (postgresReply, error) {
	if kind != 'E' {
		return postgresReply{}, errNotPostgres
	}
	rest, err := io.ReadAll(io.LimitReader(in, 1<<10))
	text, _, ended := strings.Cut(string(begin)+string(rest), "\x00")
	if !ended && err != nil {
		return postgresReply{}, err
	}
	if !ended {
		return postgresReply{}, errNotPostgres
	}
	return postgresReply{code: "53000", message: text}, nil
}

// take reads one message, and reports whether it says enough.
func (p *postgresReply) take(kind byte, body []byte) (done bool, err error) {
	switch kind {
	case 'R': // Authentication…
		if len(body) < 4 {
			return false, errNotPostgres
		}
		p.auth = binary.BigEndian.Uint32(body)
		return p.auth != 0, nil
	case 'S': // ParameterStatus
		name, rest, _ := strings.Cut(string(body), "\x00")
		text, _, _ := strings.Cut(rest, "\x00")
		switch name {
		case "server_version":
			p.version, _, _ = strings.Cut(text, " ")
		case "in_hot_standby":
			p.standby = text == "on"
		}
	case 'E': // ErrorResponse: a letter and a text for each field
		for field := range strings.SplitSeq(string(body), "\x00") {
			switch {
			case strings.HasPrefix(field, "C"):
				p.code = field[1:]
			case strings.HasPrefix(field, "M"):
				p.message = field[1:]
			}
		}
		if p.code == "" {
			return false, errNotPostgres
		}
		return true, nil
	case 'Z': // ReadyForQuery
		p.ready = true
		return true, nil
	case 'K', 'N', 'v': // BackendKeyData, NoticeResponse, NegotiateProtocolVersion
	default:
		return false, errNotPostgres
	}
	return false, nil
}

// judge says what an answer is worth. Whoever is refused for who he is was refused by a server that works; the classes of SQLSTATE
// that speak of the server are those of Appendix A of the documentation.
func (p *postgresReply) judge(user string) Result {
	switch {
	case p.ready:
		text := "lets " + user + " in"
		if p.version != "" {
			text = "PostgreSQL " + p.version + " " + text
		}
		if p.standby {
			text += ", as a standby"
		}
		return pass("%s", text)
	case p.code == "":
		return pass("alive, and wants %s", postgresAuth(p.auth))
	}
	said := fmt.Sprintf("%s (%s)", p.message, p.code)
	switch class := p.code[:min(2, len(p.code))]; {
	case p.code == "57P03":
		return fail("takes no sessions now: %s", said).advise("wait, if it is starting; else see its log")
	case p.code == "53300":
		return result(health.Warn, "has no session left: %s", said).advise("raise max_connections, or see who keeps so many sessions")
	case class == "53":
		return result(health.Warn, "lacks something: %s", said).advise("see the disk, the memory and the limits of the server")
	case class == "57", class == "58", class == "XX", class == "F0":
		return fail("cannot work: %s", said).advise("see the log of the server")
	}
	return pass("alive, and lets %s not in: %s", user, said)
}

// postgresAuth names what a server wants of whoever comes in.
func postgresAuth(code uint32) string {
	switch code {
	case 3, 5, 10:
		return "a password"
	case 2, 7, 8, 9:
		return "a ticket (Kerberos)"
	}
	return fmt.Sprintf("proof of kind %d", code)
}
