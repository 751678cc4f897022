// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// TestLibraries: what the libraries themselves write comes back, whatever is in it.
func TestLibraries(t *testing.T) {
	const ugly = "a \"quoted\"\ttext\\ with = [brackets] {braces},\nlines, ünïcode \u2028 \x7f \x01 and 😀"
	at := time.Date(2026, 11, 21, 7, 55, 42, 123456789, time.FixedZone("", 3600))
	slogTo := func(handler func(*bytes.Buffer) slog.Handler) func(*bytes.Buffer) {
		return func(b *bytes.Buffer) {
			r := slog.NewRecord(at, slog.LevelWarn+1, ugly, 0)
			r.AddAttrs(slog.String("plain", "x"), slog.String("ugly", ugly), slog.String("empty", ""), slog.Int("n", -3), slog.String("key with blanks", "v"),
				slog.Any("err", errors.New(ugly)), slog.Duration("took", 1500*time.Millisecond), slog.String("service.name", "forged"))
			if err := handler(b).Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name, format, word string
		severity           uint8
		nanos              int64
		write              func(*bytes.Buffer)
	}{
		{"slog JSON", "json", "WARN+1", parse.Warn + 1, 123456789, slogTo(func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) })},
		{"slog text", "logfmt", "WARN+1", parse.Warn + 1, 123000000, slogTo(func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) })},
		{"zerolog", "json", "warn", parse.Warn, 123456789, func(b *bytes.Buffer) {
			l := zerolog.New(b)
			l.Warn().Str("plain", "x").Str("ugly", ugly).Str("empty", "").Int("n", -3).Str("key with blanks", "v").AnErr("err", errors.New(ugly)).
				Str("took", "1.5s").Str("service.name", "forged").Str("time", at.Format(time.RFC3339Nano)).Msg(ugly)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.write(&b)
			line := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
			p := parse.New(parse.Options{Loc: time.UTC})
			var rec otlp.Record
			p.Parse(line, &rec)
			if p.Format() != tt.format || rec.Severity != tt.severity || rec.SeverityText != tt.word || string(rec.Body.Bytes) != ugly {
				t.Errorf("%s: %s, %d %s, %q", line, p.Format(), rec.Severity, rec.SeverityText, rec.Body.Bytes)
			}
			if want := at.Truncate(time.Second).UnixNano() + tt.nanos; rec.Time != uint64(want) {
				t.Errorf("time %d, want %d", rec.Time, want)
			}
			got := map[string]string{}
			for _, kv := range rec.Attributes {
				got[kv.Key] = string(kv.Value.Bytes)
				if kv.Value.Kind == otlp.KindInt {
					got[kv.Key] = time.Duration(kv.Value.Int()).String()
				}
			}
			took := "1.5s"
			want := map[string]string{"plain": "x", "ugly": ugly, "empty": "", "n": "-3ns", "key with blanks": "v", "err": ugly, "took": took, "app.service.name": "forged"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMultiLineBodiesStay: what the library wrote as one line with lines in it, and what a joiner added, are both there.
func TestMultiLineBodiesStay(t *testing.T) {
	var rec otlp.Record
	parse.New(parse.Options{}).Parse([]byte(`{"msg":"a\nb"}`+"\nc"), &rec)
	if got := string(rec.Body.Bytes); got != "a\nb\nc" {
		t.Errorf("%q", got)
	}
}
