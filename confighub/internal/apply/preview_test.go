// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// TestPreview holds that looking at a generation names what applying it changes, and changes nothing.
func TestPreview(t *testing.T) {
	w := newWorld(t)
	w.actions = map[string][]string{"up": {"true"}}
	w.write("before", "of the image", 0o644)
	g := generation(1, w.file("stays", "same"), w.file("leaves", "made"), w.file("before", "replaced"), w.file("d/text", "one"), w.file("mode", "m"))
	if _, err := w.applier().Apply(t.Context(), g, true); err != nil {
		t.Fatal(err)
	}
	next := generation(2, w.file("stays", "same"), w.file("d/text", "two", reload("up")), w.file("new/dir/file", "n"),
		w.file("mode", "m", func(f *render.File) { f.Mode = 0o600 }))
	next.Output.Env = []string{"A=1"}
	tree := w.tree()
	a := w.applier()
	previews, reloads, err := a.Preview(next.Output)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	var paths []string
	for _, p := range previews {
		name := strings.TrimPrefix(p.Path, w.etc+"/")
		if p.Env {
			name = "env"
		}
		got[name] = fmt.Sprintf("%v %q %04o > %v %q %04o", p.Old.Exists, p.Old.Bytes, p.Old.Mode, p.New.Exists, p.New.Bytes, p.New.Mode)
		paths = append(paths, p.Path)
	}
	want := map[string]string{
		"leaves": `true "made" 0644 > false "" 0000`, "before": `true "replaced" 0644 > true "of the image" 0644`, "d/text": `true "one" 0644 > true "two" 0644`,
		"new/dir/file": `false "" 0000 > true "n" 0644`, "mode": `true "m" 0644 > true "m" 0600`, "env": "false \"\" 0000 > true \"A=1\\x00\" 0000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bundle.Action{{Name: "up"}}, reloads); diff != "" {
		t.Errorf("reloads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(tree, w.tree()); diff != "" {
		t.Errorf("looking changed something:\n%s", diff)
	}
	outcome, err := a.Apply(t.Context(), next, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(paths, outcome.Changed); diff != "" {
		t.Errorf("applied something else (-previewed +applied):\n%s", diff)
	}
	if _, _, err := a.Preview(generation(3, w.file("../outside", "")).Output); !isRejected(err) {
		t.Errorf("what is not allowed: %v", err)
	}
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*Rejected](err)
	return ok
}

func TestTry(t *testing.T) {
	w := newWorld(t)
	policy := Policy{Targets: []string{w.etc}, Actions: map[string][]string{
		"no-bad": {"sh", "-c", "if grep -n bad {{path}}; then exit 1; fi"},
		"all":    {"sh", "-c", "cat {{root}}" + w.path("a") + " {{root}}" + w.path("b") + " >/dev/null"},
	}}
	good := generation(1, w.file("a", "good", check("no-bad")), w.file("b", "x", check("all"))).Output
	if err := policy.Try(t.Context(), good); err != nil {
		t.Errorf("good ones: %v", err)
	}
	bad := generation(1, w.file("a", "bad s3cret", check("no-bad")), w.file("b", "x", check("nowhere")), render.File{Path: "/usr/c"}).Output
	bad.Redact, bad.Files[0].Secret = []string{"s3cret"}, true
	err := policy.Try(t.Context(), bad)
	want := []string{
		"bundle.json: targets./usr/c: is not among the targets this image allows (config.targets: " + w.etc + ")",
		"bundle.json: targets." + w.path("b") + `: check: no action "nowhere" in this image's settings (config.actions)`,
		w.path("a") + ": check no-bad: exit status 1: 1:bad ***",
	}
	rejected, _ := errors.AsType[*Rejected](err)
	if rejected == nil {
		t.Fatalf("bad ones: %v", err)
	}
	if diff := cmp.Diff(set(want), set(rejected.Lines)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(w.tree()) > 0 {
		t.Errorf("left %v", w.tree())
	}
}

func set(lines []string) map[string]bool {
	all := map[string]bool{}
	for _, line := range lines {
		all[line] = true
	}
	return all
}
