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
		name      string
		data      string
		carried   int
		line      string
		n         int
		continues bool
	}{
		{"whole", "ab\ncd", 0, "ab", 3, false},
		{"none", "ab", 0, "", 0, false},
		{"empty", "\nx", 0, "", 1, false},
		{"nothing", "", 0, "", 0, false},
		{"longest", long + "\n", 0, long, frame.MaxLine + 1, false},
		{"too long", long + "b", 0, long, frame.MaxLine, true},
		{"too long with what was carried", "abc", frame.MaxLine - 2, "ab", 2, true},
		{"full with what was carried", "abc\n", frame.MaxLine, "", 0, true},
		{"end of a full line", "\n", frame.MaxLine, "", 1, false},
		{"end of a carried line", "ab\n", frame.MaxLine - 2, "ab", 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, n, continues := frame.Next([]byte(tt.data), tt.carried)
			if string(line) != tt.line || n != tt.n || continues != tt.continues {
				t.Errorf("got %d bytes, %d taken, continues %v; want %d, %d, %v", len(line), n, continues, len(tt.line), tt.n, tt.continues)
			}
		})
	}
}

func TestText(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "plain", "plain"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red"},
		{"title", "a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", "abc"},
		{"charset", "\x1b(Ba\x1bMb", "ab"},
		{"cut", "a\x1b[12", "a"},
		{"string without end", "a\x1b]bc", "abc"},
		{"last byte", "a\x1b", "a"},
		{"invalid", "a\xff\xfeb", "a\uFFFDb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := frame.Text([]byte(tt.in), nil)
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("\x1b[31mx\x1b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _ := frame.Text(bytes.Clone(in), nil)
		if !utf8.Valid(got) {
			t.Errorf("%q became %q", in, got)
		}
	})
}
