// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	d := NewDeadLetters(dir)
	record := otlp.AppendRecord(nil, &otlp.Record{Body: otlp.String(strings.Repeat("x", 600<<10)), Attributes: []otlp.KeyValue{{Key: "log.record.uid", Value: otlp.String("a.7")}}})
	for range 10 {
		if err := d.Add(Letter{Time: time.Unix(1, 0), Error: "400: no", Record: record}); err != nil {
			t.Fatal(err)
		}
	}
	var size int
	for _, name := range []string{"/dead.jsonl", "/dead.jsonl.1"} {
		data, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		size += len(data)
		for line := range bytes.Lines(data) {
			var got map[string]string
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatal(err)
			}
			if len(got["message"]) != 600<<10 || got["hub.dead.error"] != "400: no" || got["hub.dead.time"] != "1970-01-01T00:00:01Z" ||
				got["log.record.uid"] != "a.7" || got["hub.dead.otlp"] != base64.StdEncoding.EncodeToString(record) {
				t.Errorf("letter %.200s", line)
			}
		}
	}
	if n, lost := d.Counts(); n != 10 || lost != 0 || size > 2*maxDeadBytes {
		t.Errorf("%d letters, %d lost, %d bytes", n, lost, size)
	}
	if err := NewDeadLetters("").Add(Letter{Record: record}); err == nil {
		t.Error("no directory, and no error")
	}
	if err := d.Add(Letter{Record: []byte("damaged")}); err != nil {
		t.Error(err)
	}
}
