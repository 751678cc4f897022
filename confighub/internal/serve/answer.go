// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"
)

// answer is what is said to a request, through net/http or on a connection that was taken over.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// refusing is the answer that is a refusal, as http.Error writes it.
func refusing(r *refusal) answer {
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}
	if r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests {
		header.Set("Retry-After", "5")
	}
	return answer{status: r.status, header: header, body: []byte(r.words + "\n")}
}

// to writes it through net/http.
func (a answer) to(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status != http.StatusNotModified && a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that went away asks again
}

// maxOneWrite is how much is written at once, as one record of TLS.
const maxOneWrite = 16 << 10

// onto writes it in the form of HTTP/1.1 (RFC 9112), after a GET or POST. last says that the connection ends with it.
func (a answer) onto(conn io.Writer, last bool) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", a.status, http.StatusText(a.status), time.Now().UTC().Format(http.TimeFormat))
	if a.status != http.StatusNotModified && a.status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.body))
	}
	if last {
		b.WriteString("Connection: close\r\n")
	}
	if err := a.header.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	body := a.body
	if b.Len()+len(body) <= maxOneWrite {
		b.Write(body)
		body = nil
	}
	if _, err := conn.Write(b.Bytes()); err != nil || len(body) == 0 {
		return err
	}
	_, err := conn.Write(body)
	return err
}

// patience is how long clients may take to read.
type patience struct {
	// first is for any answer, and for the head of a large one; then at least speed, in bytes/s.
	first time.Duration
	speed int
}

// of is how long the answer may take to be read.
func (p patience) of(a answer) time.Duration {
	return p.first + time.Duration(len(a.body))*time.Second/time.Duration(p.speed)
}
