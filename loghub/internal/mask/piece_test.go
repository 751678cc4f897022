// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

// inPieces masks a line cut at the given places.
func inPieces(m *Matcher, line string, at ...int) string {
	s := new(Scratch)
	var out []string
	last := 0
	for i, end := range append(at, len(line)) {
		piece := []byte(line[last:end])
		got := string(m.MaskPiece(piece, s, i+1, end < len(line)))
		if again := string(m.MaskPiece(piece, s, i+1, end < len(line))); again != got {
			return "built again it is " + again + ", before " + got
		}
		out = append(out, got)
		last = end
	}
	return strings.Join(out, "|")
}

// TestCut: wherever a line is cut, nothing of the value is left but what is too short to be known.
func TestCut(t *testing.T) {
	m := New(named("S", "hunter2-HUNTER2", `p"a\s/s<w>`, "-----------", "Hunter2HUNTER"))
	for _, secret := range []string{
		"hunter2-HUNTER2", plainJSON(`p"a\s/s<w>`), url.QueryEscape(`p"a\s/s<w>`), base64.StdEncoding.EncodeToString([]byte("hunter2-HUNTER2")),
		asciiJSON("hunter2-HUNTER2", `\u%04x`),
	} {
		line := "before {" + secret + "} after"
		for cut := 1; cut < len(line); cut++ {
			got := inPieces(m, line, cut)
			if n := longestCommon(strings.Trim(secret, `"`), got); n >= 2*minBegin || // three characters may take more, escaped
				!strings.HasPrefix(strings.ReplaceAll(got, "|", ""), "before {") || !strings.Contains(got, "***S***") {
				t.Errorf("%q cut at %d: %q", line, cut, got)
			}
			if cut+3 < len(line) {
				if got := inPieces(m, line, cut, cut+2, cut+3); longestCommon("hunter2-HUNTER2", got) > 2*minBegin || strings.Contains(got, "again") {
					t.Errorf("%q cut four times at %d: %q", line, cut, got)
				}
			}
		}
	}
	if got := inPieces(m, "a hun", 2, 4); got != "a |hu|n" {
		t.Errorf("%q", got)
	}
	s := new(Scratch)
	if got := m.MaskPiece([]byte("-HUNTER2 x"), s, 7, false); string(got) != "-HUNTER2 x" { // after a restart
		t.Errorf("%q", got)
	}
	var none *Live
	if got := none.MaskPiece([]byte("x"), s, 1, true); string(got) != "x" {
		t.Errorf("%q", got)
	}
}

// TestCutGiants: pieces as long as they come, and no memory for them.
func TestCutGiants(t *testing.T) {
	m := New(named("S", "hunter2-HUNTER2"))
	s := new(Scratch)
	giant := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	one := m.MaskPiece(append(giant, "hunter2"...), s, 1, true)
	if !bytes.HasSuffix(one, []byte("f***S***")) {
		t.Errorf("the first ends with %q", one[len(one)-20:])
	}
	two := m.MaskPiece(append([]byte("-HUNTER2"), giant...), s, 2, false)
	if !bytes.HasPrefix(two, []byte("***S***0")) {
		t.Errorf("the second begins with %q", two[:20])
	}
	if n := cap(s.cut.before) + cap(s.cut.after) + cap(s.joint) + cap(s.out); n > 16*reach {
		t.Errorf("%d bytes are kept", n)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("hunter2-HUNTER2", "a hunter2-HUNTER2 b", uint(9))
	f.Add(`p"a\s/s<w>`, `x p\"a\\s\/s\u003cw\u003e y`, uint(12))
	f.Fuzz(func(t *testing.T, secret, line string, at uint) {
		m := New(named("S", secret))
		if m == nil || len(line) == 0 || len(secret) > 100 || strings.Contains(secret+line, "*") {
			return
		}
		cut := int(at % uint(len(line)))
		got := inPieces(m, line, cut)
		if strings.Contains(got, "again") && !strings.Contains(line, "again") || strings.Contains(got, secret) {
			t.Errorf("%q cut at %d: %q", line, cut, got)
		}
		if i := strings.Index(line, secret); i >= 0 && i+minBegin <= cut && cut < i+len(secret) && strings.Contains(got, line[i:cut]+"|") {
			t.Errorf("%q cut at %d: %q", line, cut, got)
		}
	})
}
