// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// relp takes events over RELP, the acknowledged protocol of syslog, each as a JSON object. A frame is a number, a command, the
// size of its data, a blank and the data where there are any, and a line feed (librelp, doc/relp.html).
type relp struct {
	ln      net.Listener
	records atomic.Int64
	bytes   atomic.Int64 // of the events
	event   atomic.Pointer[[]byte]
	serving sync.WaitGroup
}

func newRELP() taker {
	r := &relp{ln: must(net.Listen("tcp", "127.0.0.1:0"))}
	r.serving.Go(func() {
		for {
			conn, err := r.ln.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() {
				defer conn.Close()
				r.serve(conn)
			})
		}
	})
	return r
}

func (r *relp) address() string { return r.ln.Addr().String() }

// close waits for the connections, which end with their senders.
func (r *relp) close() {
	r.ln.Close()
	r.serving.Wait()
}

func (r *relp) counts() (records, bytes int64) { return r.records.Load(), r.bytes.Load() }

// serve answers the frames of a connection until its other side is gone.
func (r *relp) serve(conn net.Conn) {
	in, out := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	var data []byte
	for {
		number, command, size, err := relpHead(in)
		if err != nil {
			return
		}
		data = slices.Grow(data[:0], size+1)[:size+1]
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		answer := "200 OK"
		switch data = data[:size]; command {
		case "open":
			answer += "\nrelp_version=0\nrelp_software=bench\ncommands=syslog"
		case "syslog":
			if r.records.Load() == 0 {
				event := bytes.Clone(data)
				r.event.Store(&event)
			}
			r.records.Add(1)
			r.bytes.Add(int64(size))
		case "close":
		default:
			answer = "500 command " + command
		}
		fmt.Fprintf(out, "%s rsp %d %s\n", number, len(answer), answer)
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// relpHead reads a frame up to its data.
func relpHead(in *bufio.Reader) (number, command string, size int, err error) {
	var fields []string
	var field []byte
	for len(fields) < 3 {
		c, err := in.ReadByte()
		if err != nil {
			return "", "", 0, err
		}
		if c != ' ' && c != '\n' {
			field = append(field, c)
			continue
		}
		if fields, field = append(fields, string(field)), field[:0]; c == '\n' {
			err = in.UnreadByte() // it ends a frame without data
		}
		if c == '\n' && (err != nil || len(fields) < 3) {
			return "", "", 0, fmt.Errorf("no frame of RELP: %q", fields)
		}
	}
	size, err = strconv.Atoi(fields[2])
	return fields[0], fields[1], size, err
}

// first is the first event alone: each is a request.
func (r *relp) first() ([]arrival, error) {
	var fields map[string]any
	if err := json.Unmarshal(*r.event.Load(), &fields); err != nil {
		return nil, err
	}
	var e arrival
	for _, value := range fields {
		e.values = append(e.values, fmt.Sprint(value))
	}
	text := fmt.Sprint(fields["time"])
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("02/Jan/2006:15:04:05 -0700", text)
	}
	if err == nil {
		e.seconds = at.Unix()
	}
	return []arrival{e}, nil
}
