// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// files is a file system for a look: path → what it holds.
type files map[string]string

// plant writes the files below a new directory, and gives that.
func (f files) plant(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	f.add(t, root)
	return root
}

func (f files) add(t *testing.T, root string) {
	t.Helper()
	for path, text := range f {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// newLook makes the look of a check at a tree; "" is this machine.
func newLook(t testing.TB, check setting.Check, root string) Func {
	t.Helper()
	f, err := New(check, Place{RunDir: t.TempDir(), Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// measured gives a value of a result by its name.
func measured(t *testing.T, r Result, name string) health.Value {
	t.Helper()
	for _, v := range r.Values {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("%v %q has no value %q: %+v", r.State, r.Text, name, r.Values)
	return health.Value{}
}

// wantUnsupported says that a look must say that it is none.
func wantUnsupported(t *testing.T, r Result, text string) {
	t.Helper()
	expect(t, r, health.Unknown, text)
	if !r.Unsupported || !r.Blind || len(r.Values) > 0 {
		t.Errorf("unsupported %t, blind %t, values %v", r.Unsupported, r.Blind, r.Values)
	}
}

// acceptable says that a node with the result is one that the next level takes.
func acceptable(t *testing.T, r Result) {
	t.Helper()
	n := health.Node{Kind: health.KindCheck, Name: "x", State: r.State, Text: r.Text, Values: r.Values}
	if err := n.Accept(health.ContainerLimits); err != nil {
		t.Error(err)
	}
	if n.Text != r.Text {
		t.Errorf("text %q is not clean", r.Text)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949: "9.9 kB", 9_950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		29_312_450_560: "29 GB", 1<<64 - 1: "18 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for part, want := range map[float64]string{0: "0 %", 0.0049: "0.4 %", 0.042: "4.2 %", 0.1: "10 %", 0.29: "29 %", 0.9499: "94 %", 1: "100 %"} {
		if got := percent(part); got != want {
			t.Errorf("percent(%v) = %q, want %q", part, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 250 * time.Millisecond: "250ms", 1500 * time.Millisecond: "1.5s", 90 * time.Second: "1m30s",
		10 * time.Minute: "10m", 26*time.Hour + 3*time.Second: "26h", 26*time.Hour + 3*time.Minute: "26h3m",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestField(t *testing.T) {
	const text = "MemTotal:       24684096 kB\noom_kill_disable 0\noom_kill 7\nbad x\n"
	for key, want := range map[string]uint64{"MemTotal": 24684096 << 10, "oom_kill": 7, "oom_kill_disable": 0} {
		if got, ok := field(text, key); got != want || !ok {
			t.Errorf("%s: %d %t, want %d", key, got, ok, want)
		}
	}
	for _, key := range []string{"Mem", "bad", "absent"} {
		if got, ok := field(text, key); ok {
			t.Errorf("%s: %d", key, got)
		}
	}
}

// The counter begins anew when who counts does; what was counted before still counts.
func TestGrowth(t *testing.T) {
	g := growth{window: time.Hour}
	at := time.Now()
	for i, step := range []struct {
		minute  int
		reading uint64
		want    uint64
	}{
		{0, 100, 0}, {1, 103, 3}, {30, 110, 10}, {59, 110, 10},
		{61, 110, 7}, // what came in the first minute is out
		{62, 2, 9},   // began anew
		{95, 2, 2}, {200, 2, 0}, {201, 3, 1},
	} {
		if got := g.add(at.Add(time.Duration(step.minute)*time.Minute), step.reading); got != step.want {
			t.Errorf("step %d: grew by %d, want %d", i, got, step.want)
		}
	}
	for i := range 100_000 {
		g.add(at.Add(time.Duration(300)*time.Minute+time.Duration(i)*time.Second), 3)
	}
	if n := len(g.samples); n > growthSteps+2 {
		t.Errorf("%d samples", n)
	}
}
