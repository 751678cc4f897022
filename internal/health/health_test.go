// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestStates(t *testing.T) {
	for i, s := range States() {
		if int(s) != i {
			t.Errorf("%v stands at %d of the order", s, i)
		}
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("%s: read back as %v, %v", text, back, err)
		}
	}
	if _, err := State(17).MarshalText(); err == nil {
		t.Error("a state beyond the last was encoded")
	}
	if _, err := ParseState("healthy"); err == nil {
		t.Error("healthy was taken for a state")
	}
	if got := Worst(Warn, Fail, Unknown); got != Fail {
		t.Errorf("worst is %v", got)
	}
	if got := Worst(); got != Pass {
		t.Errorf("worst of nothing is %v", got)
	}
}

func TestNodeJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	score := 0
	node := Node{
		Kind: KindContainer, Name: "web.shop.vm1", State: Fail, Since: at, Score: &score, Flags: []string{FlagStale},
		Children: []Node{{Kind: KindCheck, Name: "page", State: Pass}},
	}
	data, err := json.Marshal(node)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"container","name":"web.shop.vm1","state":"fail","since":"2026-03-01T12:00:00Z","score":0,` +
		`"flags":["stale"],"children":[{"kind":"check","name":"page","state":"pass"}]}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
	var back Node
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(node, back); diff != "" {
		t.Error(diff)
	}
}

func TestFlags(t *testing.T) {
	n := Node{}
	n.SetFlag(FlagStale, true)
	n.SetFlag(FlagCritical, true)
	n.SetFlag(FlagCritical, true)
	if diff := cmp.Diff([]string{"critical", "stale"}, n.Flags); diff != "" {
		t.Error(diff)
	}
	copied := n
	n.SetFlag(FlagCritical, false)
	if !copied.HasFlag(FlagCritical) || n.HasFlag(FlagCritical) {
		t.Errorf("flags are shared between copies: %v and %v", copied.Flags, n.Flags)
	}
}

func TestAccept(t *testing.T) {
	check := func(name string) Node { return Node{Kind: KindCheck, Name: name} }
	many := Node{Kind: KindContainer, Name: "c"}
	for i := range 500 {
		many.Children = append(many.Children, check(fmt.Sprint("n", i)))
	}
	deep := check("d")
	for range 4 {
		deep = Node{Kind: KindHub, Name: "d", Children: []Node{deep}}
	}
	high := 101
	for name, test := range map[string]struct {
		node Node
		want string // part of the error; "": accepted
	}{
		"plain":          {check("hub/log"), ""},
		"long container": {Node{Kind: KindContainer, Name: strings.Repeat("a", 190)}, ""},
		"suppressed":     {Node{Kind: KindCheck, Name: "a", Flags: []string{FlagSuppressedBy + "hub/log"}}, ""},
		"long check":     {check(strings.Repeat("a", 65)), "1 to 64"},
		"upper case":     {check("Page"), "must consist"},
		"empty":          {check(""), "1 to 64"},
		"escape":         {check("a\x1b[2J"), "must consist"},
		"kind":           {Node{Kind: "pod", Name: "a"}, "kind"},
		"flag":           {Node{Kind: KindCheck, Name: "a", Flags: []string{"<b>"}}, "flag"},
		"flags":          {Node{Kind: KindCheck, Name: "a", Flags: make([]string, 17)}, "17 flags"},
		"score":          {Node{Kind: KindCheck, Name: "a", Score: &high}, "score 101"},
		"twice":          {Node{Kind: KindContainer, Name: "c", Children: []Node{check("a"), check("a")}}, "twice"},
		"many":           {many, "more than 500 nodes"},
		"deep":           {deep, "too deep"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.node.Accept(ContainerLimits)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"fine":                    "fine",
		" two\r\n\tlines \n":      "two lines",
		"red \x1b[1;31malert\x07": "red alert",
		"\x1b]0;title\x07shown":   "shown",
		"\x1b]8;;https://a/\x1b\\link\x1b]8;;\x1b\\": "link",
		"\u009b31mred":            "red",
		"\x1bPq#0;2;0;0;0\x1b\\x": "x",
		"\x1b(0box\x1bc":          "box",
		"\x1b]0;no end":           "0;no end",
		"cut \x1b[38;5":           "cut",
		"end\x1b":                 "end",
		"back\u202ewards":         "backwards",
		"bad \xff utf-8":          "bad � utf-8",
		strings.Repeat("ä", 5000): strings.Repeat("ä", 2046) + "…",
	} {
		got := CleanText(in)
		if got != want {
			t.Errorf("%.40q became %.60q, want %.60q", in, got, want)
		}
		if len(got) > MaxTextBytes || !utf8.ValidString(got) {
			t.Errorf("%.40q became %d bytes, valid %t", in, len(got), utf8.ValidString(got))
		}
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(dir, LogFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
	node := Node{Kind: KindHub, Name: "log", State: Warn, Text: "spool at 80 %"}
	if err := WriteFile(dir, LogFile, node, map[string]int{"events": 4}, time.Minute); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(dir, LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(node, f.Health); diff != "" {
		t.Error(diff)
	}
	if f.Program != "loghub" || f.PID != os.Getpid() || string(f.Section) != `{"events":4}` || f.Schema != 1 {
		t.Errorf("read back %+v", f)
	}
	if f.Stale() {
		t.Error("stale at once")
	}
}

// In health.json the key health is the node's, as in every file.
func TestHealthFileHasBoth(t *testing.T) {
	dir := t.TempDir()
	node := Node{Kind: KindContainer, Name: "web.shop.vm1", State: Pass}
	if err := WriteFile(dir, HealthFile, node, map[string]int{"checks": 4}, time.Minute); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(dir, HealthFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(node, f.Health); diff != "" || string(f.Section) != `{"checks":4}` {
		t.Errorf("section %s, node %s", f.Section, diff)
	}
}

func TestStale(t *testing.T) {
	now, err := bootSeconds()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		until float64
		want  bool
	}{
		"no expiry":     {0, false},
		"valid":         {now + 60, false},
		"expired":       {now - 1, true},
		"of other boot": {now + 2*MaxValid.Seconds(), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&File{ValidUntilBoot: test.until}).Stale(); got != test.want {
				t.Errorf("stale %t, want %t", got, test.want)
			}
		})
	}
}

// Setting the date, by hand or by NTP after a start without a battery, makes no file older or younger.
func TestStaleIgnoresTheDate(t *testing.T) {
	now, err := bootSeconds()
	if err != nil {
		t.Fatal(err)
	}
	for _, shift := range []time.Duration{-time.Hour, time.Hour, -50 * 365 * 24 * time.Hour} {
		written := time.Now().Add(shift)
		if (&File{WrittenAt: written, ValidUntilBoot: now + 30}).Stale() {
			t.Errorf("written %s ago by the date: stale, though it is valid for 30 s more", -shift)
		}
		if !(&File{WrittenAt: written, ValidUntilBoot: now - 1}).Stale() {
			t.Errorf("written %s ago by the date: believed, though it has expired", -shift)
		}
	}
}

// The expiry stands on the clock of /proc/uptime, so that people and scripts can compare.
func TestBootClockIsUptime(t *testing.T) {
	got, err := bootSeconds()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	var uptime float64
	if _, err := fmt.Sscan(string(data), &uptime); err != nil {
		t.Fatal(err)
	}
	if d := uptime - got; d < -1 || d > 5 {
		t.Errorf("boot clock %f, /proc/uptime %f", got, uptime)
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"not JSON": "{", "no schema": `{"health":{"kind":"hub","name":"log","state":"pass"}}`,
		"no state": `{"schema":1,"health":{"state":"green"}}`, "large": strings.Repeat(" ", maxFileBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "log.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if f, err := ReadFile(dir, LogFile); err == nil {
				t.Errorf("read as %+v", f)
			}
		})
	}
}
