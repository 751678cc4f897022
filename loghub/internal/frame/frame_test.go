// SPDX-License-Identifier: AGPL-3.0-or-later

package frame_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"cloud4.internal/hub/loghub/internal/frame"
	"github.com/google/go-cmp/cmp"
)

func TestNext(t *testing.T) {
	long := strings.Repeat("a", frame.MaxLine)
	tests := []struct {
		name string
		data string
		seen int
		line string
		n    int
		cut  bool
	}{
		{"whole", "ab\ncd", 0, "ab", 3, false},
		{"none", "ab", 0, "", 0, false},
		{"empty", "\nx", 0, "", 1, false},
		{"nothing", "", 0, "", 0, false},
		{"seen", "ab\ncd", 2, "ab", 3, false},
		{"all seen", "ab", 2, "", 0, false},
		{"longest", long + "\n", 0, long, frame.MaxLine + 1, false},
		{"longest, seen", long + "\n", frame.MaxLine, long, frame.MaxLine + 1, false},
		{"too long", long + "b", 0, long, frame.MaxLine, true},
		{"too long, seen", long + "b\n", frame.MaxLine + 1, long, frame.MaxLine, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, n, cut := frame.Next([]byte(tt.data), tt.seen)
			if string(line) != tt.line || n != tt.n || cut != tt.cut {
				t.Errorf("got %d bytes, %d taken, cut %v; want %d, %d, %v", len(line), n, cut, len(tt.line), tt.n, tt.cut)
			}
		})
	}
}

func TestText(t *testing.T) {
	tests := []struct {
		name, in, want string
		repaired       bool
	}{
		{"plain", "plain", "plain", false},
		{"colour", "\x1b[1;31mred\x1b[0m", "red", false},
		{"title", "a\x1b]0;title\x07b", "ab", false},
		{"link", "see \x1b]8;;http://192.0.2.1/x\x1b\\here\x1b]8;;\x1b\\.", "see here.", false},
		{"charset", "\x1b(Ba\x1bMb", "ab", false},
		{"cut", "a\x1b[12", "a", false},
		{"string without end", "a\x1b]bc", "abc", false},
		{"string beyond its line", "a\x1b]b\nc\x07d", "ab\nc\x07d", false},
		{"last byte", "a\x1b", "a", false},
		{"eight bits", "\u009b1;31mred\u009b0m \u009d0;title\u009cx\u0085y", "red xy", false},
		{"eight bits without UTF-8", "\x9b1;31mred\x9b0m", "red", false},
		{"not a control", "\u015b \x1b[0mś", "ś ś", false},
		{"invalid", "a\xff\xfeb", "a\uFFFDb", true},
		{"invalid and colour", "\x1b[1ma\xffb", "a\uFFFDb", true},
		{"another encoding", "caf\xe9 \x85 \x9babc", "caf\uFFFD \uFFFD \uFFFDabc", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, repaired := frame.Text([]byte(tt.in), nil)
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if repaired != tt.repaired {
				t.Errorf("repaired is %v", repaired)
			}
		})
	}
}

func TestTrim(t *testing.T) {
	for in, want := range map[string]string{"a\r": "a", "\x00\x00a\x00": "a\x00", "\x00\x00": "", "": "", "\r\r": "\r"} {
		if got := string(frame.Trim([]byte(in))); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	for in, want := range map[string]string{"a\nb": "a\nb", "a\r\n\r\nb\rc\r\n": "a\n\nb\rc\n", "\r": "\r"} {
		if got, _ := frame.Unreturn([]byte(in), nil); string(got) != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("\x1b[31mx\x1b"))
	f.Add([]byte("\xc2\x9b1mx\x9d\n\xc2"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _, repaired := frame.Text(bytes.Clone(in), nil)
		if !utf8.Valid(got) || utf8.Valid(in) && repaired {
			t.Errorf("%q became %q", in, got)
		}
		if bytes.Count(got, []byte("\n")) != bytes.Count(in, []byte("\n")) {
			t.Errorf("%q became %q: another number of lines", in, got)
		}
	})
}
