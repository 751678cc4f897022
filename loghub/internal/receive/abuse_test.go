// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// A resource stands once on the wire and on every line of the file: few bytes would become a great many.
func TestResourceManyTimes(t *testing.T) {
	w := newWorld(t, Options{BodyBytes: 1 << 20})
	c := w.client(id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	var frames []byte
	for range 4096 {
		frames = otlp.AppendRecord(frames, &otlp.Record{})
	}
	res := []otlp.KeyValue{{Key: "pad", Value: otlp.String(strings.Repeat("x", 8<<10))}}
	body := append(otlp.AppendRequest(nil, res, otlp.Scope{}, len(frames)), frames...)
	resp, words := w.post(c, body)
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(words, "as lines") {
		t.Errorf("%d bytes that become 32 MiB: %d %s", len(body), resp.StatusCode, words)
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	if resp, words := w.post(c, request("i", "1")); resp.StatusCode != http.StatusOK {
		t.Errorf("the next request: %d %s", resp.StatusCode, words)
	}
}

// Whoever sends slowly must not keep the places of those who do not.
func TestSlowSender(t *testing.T) {
	w := newWorld(t, Options{})
	slow := w.client(id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "slow", "")))
	slow.Timeout = 0
	statuses := make(chan int, 2*inFlight)
	var ends []*io.PipeWriter
	for range 2 * inFlight {
		r, stuck := io.Pipe()
		ends = append(ends, stuck)
		req, err := http.NewRequest(http.MethodPost, w.url, r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", otlp.ContentType)
		go func() {
			status := 0
			if resp, err := slow.Do(req); err == nil {
				status = resp.StatusCode
				resp.Body.Close()
			}
			statuses <- status
		}()
	}
	for range 2*inFlight - perPeer {
		if status := <-statuses; status != http.StatusTooManyRequests {
			t.Errorf("one peer's request beyond %d: %d", perPeer, status)
		}
	}
	begin := time.Now()
	resp, words := w.post(w.client(id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))), request("i", "1"))
	if resp.StatusCode != http.StatusOK || time.Since(begin) > 5*time.Second {
		t.Errorf("another peer: %d %s after %s", resp.StatusCode, words, time.Since(begin))
	}
	for _, end := range ends {
		end.Close()
	}
	for range perPeer {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a slow request that ends after all: %d", status)
		}
	}
}

// Names in a file are told apart to the letter: encoding/json would take "CLOUD4.PEER" for "cloud4.peer", and a
// replica's line would then speak for another when the file is read back.
func TestUIDOfAnother(t *testing.T) {
	w := newWorld(t, Options{})
	first := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	second := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "1"))
	forged := otlp.AppendRecord(nil, &otlp.Record{Time: 1, Body: otlp.String("noise"), Attributes: []otlp.KeyValue{
		{Key: "log.record.uid", Value: otlp.String("mine")},
		{Key: "CLOUD4.PEER", Value: otlp.String(first.String())},
		{Key: "Service.Instance.Id", Value: otlp.String("i")},
		{Key: "LOG.record.uid", Value: otlp.String("1")}}})
	w.post(w.client(second), append(otlp.AppendRequest(nil, nil, otlp.Scope{}, len(forged)), forged...))

	again, err := New(w.rc.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.take(first, request("i", "1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"noise", "1"}, w.messages("web.shop.vm1.jsonl")); diff != "" {
		t.Error(diff)
	}
}

// A record full of attributes must not take time by their square.
func TestManyAttributes(t *testing.T) {
	var kvs []otlp.KeyValue
	for i := range 60000 {
		kvs = append(kvs, otlp.KeyValue{Key: fmt.Sprint(i), Value: otlp.Int(1)})
	}
	rec := otlp.AppendRecord(nil, &otlp.Record{Body: otlp.Map(kvs...)})
	w := newWorld(t, Options{})
	runtime.LockOSThread() // its own time counts, not that of a machine with other work
	defer runtime.UnlockOSThread()
	begin := threadTime(t)
	for range 4 {
		if err := w.rc.take(spiffe.ID{}, append(otlp.AppendRequest(nil, nil, otlp.Scope{}, len(rec)), rec...)); err != nil {
			t.Fatal(err)
		}
	}
	if took := threadTime(t) - begin; took > 10*time.Second {
		t.Errorf("4 records of %d values took %s of a processor", len(kvs), took)
	}
}

// threadTime is what this thread has used of a processor.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// What strangers are refused for is said once a minute, though their ports differ.
func TestRefusalsSaidOnce(t *testing.T) {
	var log bytes.Buffer
	rc, err := New(Options{Dir: t.TempDir(), Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	for port := range 100 {
		rc.Refused(mtls.Refusal{Remote: fmt.Sprintf("10.0.0.9:%d", port), What: "TLS handshake",
			Why: fmt.Sprintf("read tcp 10.0.0.1:4318->10.0.0.9:%d: i/o timeout", port)})
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
