// SPDX-License-Identifier: AGPL-3.0-or-later

package mute

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

func check(name string, s health.State, flags ...string) health.Node {
	return health.Node{Kind: health.KindCheck, Name: name, State: s, Flags: flags}
}

// container fails, with two checks in trouble and one that passes.
func container(name string) health.Node {
	return health.Node{Kind: health.KindContainer, Name: name, State: health.Warn, Children: []health.Node{
		check("backup", health.Fail), check("page", health.Warn), check("port", health.Pass),
	}}
}

func fleet() *health.Node {
	host := health.Node{Kind: health.KindHost, Name: "vm1", State: health.Warn, Children: []health.Node{
		container("web.shop.vm1"), container("web.shop.vm1/2"),
	}}
	return &health.Node{Kind: health.KindFleet, Name: "fleet", State: health.Warn, Children: []health.Node{host}}
}

func memory(t *testing.T) *List {
	t.Helper()
	l, err := Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func request(path string) Request {
	return Request{Path: path, For: "2h", Reason: "disk ordered", By: "operator/ops"}
}

func TestAdd(t *testing.T) {
	root := fleet()
	for name, test := range map[string]struct {
		request Request
		want    string // part of the error; "": taken
		is      error
	}{
		"taken":           {request("web.shop.vm1/page"), "", nil},
		"of a container":  {request("vm1/web.shop.vm1"), "", nil},
		"passes":          {request("web.shop.vm1/port"), "vm1/web.shop.vm1/port passes", ErrPasses},
		"passes, sticky":  {Request{Path: "web.shop.vm1/port", For: "1d", Reason: "r", By: "b", Sticky: true}, "", nil},
		"names nothing":   {request("web.shop.vm1/pag"), "no such part", health.ErrNotFound},
		"no path":         {request(""), "must have 1", health.ErrNotFound},
		"no time":         {Request{Path: "vm1", Reason: "r", By: "b"}, "for: must be between 1s and 30d", nil},
		"too long":        {Request{Path: "vm1", For: "31d", Reason: "r", By: "b"}, "for: must be", nil},
		"too long, hours": {Request{Path: "vm1", For: "721h", Reason: "r", By: "b"}, "for: must be", nil},
		"backwards":       {Request{Path: "vm1", For: "-1h", Reason: "r", By: "b"}, "for: must be", nil},
		"half days":       {Request{Path: "vm1", For: "1h2d", Reason: "r", By: "b"}, "for: must be", nil},
		"no reason":       {Request{Path: "vm1", For: "30d", Reason: " \t", By: "b"}, "reason: must say", nil},
		"nobody":          {Request{Path: "vm1", For: "30d", Reason: "r"}, "by: must say", nil},
		"a novel":         {Request{Path: "vm1", For: "30d", Reason: strings.Repeat("r", maxReasonBytes+1), By: "b"}, "reason: must say", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := memory(t)
			_, err := l.Add(root, test.request)
			switch {
			case test.want == "" && err != nil || test.want != "" && err == nil:
				t.Fatalf("error %v, want %q", err, test.want)
			case err != nil && (!strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is)):
				t.Errorf("error %v, want %q", err, test.want)
			}
			if taken := len(l.All()) == 1; taken != (test.want == "") {
				t.Errorf("%d mutes", len(l.All()))
			}
		})
	}
}

// A mute knows what it was given for; a second one of the same thing takes its place.
func TestAddReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, root := memory(t), fleet()
		if _, err := l.Add(root, request("web.shop.vm1")); err != nil {
			t.Fatal(err)
		}
		second := request("vm1/web.shop.vm1")
		second.For, second.Reason, second.Sticky = "3d", "moved\x1b[31m", true
		got, err := l.Add(root, second)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Round(0).UTC()
		want := Mute{
			Path: "vm1/web.shop.vm1", At: now, Until: now.Add(72 * time.Hour), Reason: "moved", By: "operator/ops", Sticky: true,
			State: health.Warn, Count: 2,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Mute{want}, l.All()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFull(t *testing.T) {
	l := memory(t)
	root := &health.Node{Kind: health.KindContainer, Name: "c"}
	for i := range MaxMutes + 1 {
		root.Children = append(root.Children, check(fmt.Sprint("c", i), health.Fail))
	}
	for i := range MaxMutes {
		if _, err := l.Add(root, request(fmt.Sprint("c", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Add(root, request(fmt.Sprint("c", MaxMutes))); !errors.Is(err, ErrFull) {
		t.Errorf("error %v", err)
	}
	if _, err := l.Add(root, request("c7")); err != nil {
		t.Errorf("a full list does not renew: %v", err)
	}
	if err := l.Remove("c7"); err != nil {
		t.Error(err)
	}
	if err := l.Remove("c7"); !errors.Is(err, health.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestEnds(t *testing.T) {
	type change func(n *health.Node) // of the container vm1/web.shop.vm1
	state := func(s health.State) change { return func(n *health.Node) { n.State = s } }
	for name, test := range map[string]struct {
		path   string
		sticky bool
		after  time.Duration
		change change
		want   string // why it ended; "": it did not
	}{
		"holds":               {"web.shop.vm1", false, time.Hour, state(health.Warn), ""},
		"time":                {"web.shop.vm1", false, 2 * time.Hour, state(health.Warn), "its time is over"},
		"time, sticky":        {"web.shop.vm1", true, 2 * time.Hour, state(health.Warn), "its time is over"},
		"recovery":            {"web.shop.vm1", false, time.Minute, state(health.Pass), "it passes"},
		"recovery, sticky":    {"web.shop.vm1", true, time.Minute, state(health.Pass), ""},
		"half a recovery":     {"web.shop.vm1", false, time.Minute, state(health.Starting), ""},
		"worse":               {"web.shop.vm1", false, time.Minute, state(health.Fail), "it got worse: fail, was warn"},
		"unknown is worse":    {"web.shop.vm1", false, time.Minute, state(health.Unknown), "it got worse: unknown, was warn"},
		"worse, sticky":       {"web.shop.vm1", true, time.Minute, state(health.Fail), ""},
		"more":                {"web.shop.vm1", false, time.Minute, func(n *health.Node) { n.Children[2].State = health.Fail }, "it got worse: 3 parts are in trouble, were 2"},
		"more, not counted":   {"web.shop.vm1", false, time.Minute, func(n *health.Node) { n.Children[2] = check("port", health.Fail, health.FlagInfo) }, ""},
		"as many, other ones": {"web.shop.vm1", false, time.Minute, func(n *health.Node) { n.Children[2].State, n.Children[0].State = health.Fail, health.Pass }, ""},
		"check, worse":        {"web.shop.vm1/page", false, time.Minute, func(n *health.Node) { n.Children[1].State = health.Fail }, "it got worse: fail, was warn"},
		"check, well":         {"web.shop.vm1/page", false, time.Minute, func(n *health.Node) { n.Children[1].State = health.Pass }, "it passes"},
		"another got worse":   {"web.shop.vm1/page", false, time.Minute, func(n *health.Node) { n.Children[2].State = health.Fail }, ""},
		"gone":                {"web.shop.vm1/page", false, time.Minute, func(n *health.Node) { n.Children = nil }, ""},
		"silent": {"web.shop.vm1", false, time.Minute, func(n *health.Node) {
			n.State, n.Flags = health.Unknown, []string{health.FlagStale}
		}, ""},
		"missing": {"web.shop.vm1", false, time.Minute, func(n *health.Node) {
			n.State, n.Flags = health.Fail, []string{health.FlagMissing, health.FlagStale}
		}, "it got worse: fail, was warn"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, root := memory(t), fleet()
				r := request(test.path)
				r.Sticky = test.sticky
				if _, err := l.Add(root, r); err != nil {
					t.Fatal(err)
				}
				if ends := l.Look(root); len(ends) > 0 {
					t.Fatalf("ended at once: %v", ends)
				}
				time.Sleep(test.after)
				next := fleet()
				test.change(&next.Children[0].Children[0])
				ends := l.Look(next)
				if test.want == "" {
					if len(ends) > 0 || len(l.All()) != 1 {
						t.Errorf("ended: %v", ends)
					}
					return
				}
				if len(ends) != 1 || ends[0].Why != test.want || len(l.All()) != 0 {
					t.Errorf("ends %v, %d left; want %q", ends, len(l.All()), test.want)
				}
				if again := l.Look(next); len(again) > 0 {
					t.Errorf("ended twice: %v", again)
				}
			})
		})
	}
}

// Apply flags what is muted and nothing else, and leaves trees alone that share nodes with the one it is given.
func TestApply(t *testing.T) {
	l, root := memory(t), fleet()
	for _, path := range []string{"web.shop.vm1/2/page", "web.shop.vm1", "web.shop.vm1/backup"} {
		if _, err := l.Add(root, request(path)); err != nil {
			t.Fatal(err)
		}
	}
	host := root.Children[0]
	for range 2 { // flags that are there already change nothing
		touched := l.Apply(root)
		if !slices.Equal(touched, []int{0}) {
			t.Errorf("touched %v", touched)
		}
		var got []string
		for _, path := range []string{
			"vm1", "web.shop.vm1", "web.shop.vm1/backup", "web.shop.vm1/page", "web.shop.vm1/2", "web.shop.vm1/2/page", "web.shop.vm1/2/backup",
		} {
			chain, err := root.Find(path)
			if err != nil {
				t.Fatal(err)
			}
			if chain[len(chain)-1].HasFlag(health.FlagMuted) {
				got = append(got, path)
			}
		}
		if diff := cmp.Diff([]string{"web.shop.vm1", "web.shop.vm1/backup", "web.shop.vm1/2/page"}, got); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(fleet().Children[0], host); diff != "" {
		t.Errorf("a tree that shares nodes was changed: %s", diff)
	}
	if !l.Muted("vm1/web.shop.vm1") || l.Muted("vm1/web.shop.vm1/page") || l.Muted("vm1") {
		t.Error("muted is not what was added")
	}
}

func TestKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mutes.json")
	failed := func(err error) { t.Errorf("writing: %v", err) }
	l, err := Open(file, failed)
	if err != nil {
		t.Fatal(err)
	}
	root := fleet()
	for _, path := range []string{"web.shop.vm1", "web.shop.vm1/2", "web.shop.vm1/2/page"} {
		if _, err := l.Add(root, request(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Remove("vm1/web.shop.vm1"); err != nil {
		t.Fatal(err)
	}
	root.Children[0].Children[1].Children[1].State = health.Pass
	l.disk.Lock() // it is slow, and who evaluates does not wait for it
	if ends := l.Look(root); len(ends) != 1 || len(l.All()) != 1 {
		t.Fatalf("ends %v", ends)
	}
	l.disk.Unlock()
	l.Wait()
	again, err := Open(file, failed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.All(), again.All()); diff != "" || len(again.All()) != 1 {
		t.Error(diff)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// What cannot be read mutes nothing, and the list can be used.
func TestOpenDamaged(t *testing.T) {
	far := time.Now().Add(10 * MaxFor)
	good := Mute{Path: "a", At: time.Now(), Until: far, Reason: "r", By: "b", State: health.Fail, Count: 1}
	all := func(mutes ...Mute) string {
		data, err := json.Marshal(file{Schema: fileSchema, Mutes: mutes})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, test := range map[string]struct {
		content string
		want    int
		error   string
	}{
		"cut":          {`{"schema":1,"mutes":[{"path":"a"`, 0, "unexpected end"},
		"other schema": {`{"schema":0}`, 0, "want schema 1"},
		"huge":         {strings.Repeat(" ", maxFileBytes+1), 0, "at most"},
		"too many":     {all(make([]Mute, MaxMutes+1)...), 0, "at most 1000"},
		"one is bad":   {all(Mute{Path: "b"}, good), 1, `left out "b"`},
		"twice":        {all(good, good), 1, ""},
		"no state":     {strings.Replace(all(good), `"fail"`, `"green"`, 1), 0, "must be pass"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mutes.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(path, nil)
			if fmt.Sprint(err) == "<nil>" != (test.error == "") || err != nil && !strings.Contains(err.Error(), test.error) {
				t.Errorf("error %v, want %q", err, test.error)
			}
			if got := l.All(); len(got) != test.want {
				t.Errorf("%d mutes, want %d", len(got), test.want)
			} else if test.want > 0 && time.Until(got[0].Until) > MaxFor {
				t.Errorf("muted until %v: a clock that was set back makes a mute longer", got[0].Until)
			}
			root := &health.Node{Kind: health.KindContainer, Name: "c", Children: []health.Node{check("z", health.Fail)}}
			if _, err := l.Add(root, request("z")); err != nil {
				t.Error(err)
			}
		})
	}
}

// A disk that takes nothing does not keep anybody from muting.
func TestCannotBeKept(t *testing.T) {
	var said []error
	var l *List
	l, err := Open(filepath.Join(t.TempDir(), "none", "mutes.json"), func(err error) {
		said = append(said, err)
		l.All() // nobody who wants to know waits for the disk
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Add(fleet(), request("vm1")); err != nil || len(l.All()) != 1 || len(said) != 1 {
		t.Errorf("error %v, %d mutes, said %v", err, len(l.All()), said)
	}
}
