// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/spiffe"
)

var fleetNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// someFleet has a container in every state.
func someFleet() serve.Fleet {
	now := fleetNow
	old, current := bundle.Version{Serial: 16, Digest: "sha256:a"}, bundle.Version{Serial: 17, Digest: "sha256:b"}
	rolled := bundle.Version{Serial: 18, Digest: "sha256:a"} // an old digest again
	ends := now.Add(23*time.Hour + 59*time.Minute)
	return serve.Fleet{
		Tree: serve.Tree{Problems: []string{"services/db/data/db.json:3: column 7: invalid character"}},
		Containers: []serve.Container{
			{Identity: "db.shop.vm1", Desired: current},
			{Identity: "web.shop.vm1", Desired: current, Instances: []serve.Instance{
				{Status: "applied", Version: current, State: bundle.StateApplied, Applied: current, NotAfter: ends, Seen: now.Add(-2 * time.Second)},
				{
					Instance: "1", Status: "behind", Version: old, State: bundle.StateApplied, Applied: old,
					NotAfter: now.Add(-time.Minute), Seen: now.Add(-90 * time.Second),
				},
				{
					Instance: "2", Status: "rejected", Version: current, State: bundle.StateRejected, Applied: old, NotAfter: ends, Seen: now,
					Failed: &serve.Failure{Version: current, State: bundle.StateRejected, Errors: []string{"nginx.conf:3:7: no value\nmore", "another"}},
				},
				{Instance: "3", Status: "unknown", NotAfter: ends, Seen: now},
				{
					Instance: "4", Status: "pending", Version: current, State: bundle.StatePending, Applied: old, NotAfter: ends, Seen: now,
					Failed: &serve.Failure{Version: old, State: bundle.StateRejected, Errors: []string{"too old"}},
				},
			}},
			{Identity: "web.shop.vm2", Desired: rolled, Instances: []serve.Instance{{
				Status: "applied", Version: old, State: bundle.StateApplied, Applied: old, Seen: now,
				Failed: &serve.Failure{Version: current, State: bundle.StateRolledBack, Errors: []string{"health/page \x1b[31mfailed"}},
			}}},
		},
	}
}

func TestFleetTable(t *testing.T) {
	var got strings.Builder
	if err := printFleet(&got, someFleet(), fleetNow); err != nil {
		t.Fatal(err)
	}
	want := `the newest tree is not served: services/db/data/db.json:3: column 7: invalid character
IDENTITY      INSTANCE  DESIRED  APPLIED  TRIED  STATE     SEEN    CERTIFICATE  ERROR
db.shop.vm1   -         17       -        -      unseen    -       -            -
web.shop.vm1  -         17       17       -      applied   2s ago  24h          -
web.shop.vm1  1         17       16       -      behind    2m ago  expired      -
web.shop.vm1  2         17       16       17     rejected  0s ago  24h          nginx.conf:3:7: no value (and 1 more)
web.shop.vm1  3         17       -        -      unknown   0s ago  24h          -
web.shop.vm1  4         17       16       17     pending   0s ago  24h          16: too old
web.shop.vm2  -         18       16       17     applied   0s ago  -            health/page failed
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	// Colour adds nothing that is not said in words.
	coloured := strings.Join(fleetTable(someFleet(), fleetNow, true), "\n") + "\n"
	if !strings.Contains(coloured, "\x1b[31mrejected\x1b[0m  ") || !strings.Contains(coloured, "\x1b[32mapplied\x1b[0m   ") {
		t.Errorf("no colours in %q", coloured)
	}
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "", "\x1b[0m", "").Replace(coloured)
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("without its colours (-want +got):\n%s", diff)
	}
}

// shopFleet is one container with one replica.
func shopFleet(status string, desired, applied uint64) serve.Fleet {
	return serve.Fleet{Containers: []serve.Container{{
		Identity: "web.shop.vm1", Desired: bundle.Version{Serial: desired, Digest: "sha256:a"},
		Instances: []serve.Instance{{Status: status, Applied: bundle.Version{Serial: applied, Digest: "sha256:b"}, Seen: fleetNow}},
	}}}
}

func TestFleetJournal(t *testing.T) {
	var got strings.Builder
	j := &journal{out: &got}
	broken := shopFleet("applied", 18, 18)
	broken.Tree.Problems = []string{"a.json:1: odd", "b.json:1: odd"}
	looks := []struct {
		fleet   serve.Fleet
		trouble error
	}{
		{shopFleet("applied", 17, 17), nil},
		{shopFleet("applied", 17, 17), nil},
		{shopFleet("behind", 18, 17), nil},
		{serve.Fleet{}, os.ErrDeadlineExceeded},
		{serve.Fleet{}, os.ErrDeadlineExceeded},
		{shopFleet("applied", 18, 18), nil},
		{broken, nil},
		{shopFleet("applied", 18, 18), nil},
		{serve.Fleet{}, nil},
	}
	for i, look := range looks {
		if err := j.show(look.fleet, look.trouble, fleetNow.Add(time.Duration(i)*2*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	want := `IDENTITY      INSTANCE  DESIRED  APPLIED  TRIED  STATE    SEEN    CERTIFICATE  ERROR
web.shop.vm1  -         17       17       -      applied  0s ago  -            -
2026-03-01T12:00:04Z  web.shop.vm1  instance -  desired 18  applied 17  tried -  behind  -
2026-03-01T12:00:06Z  i/o timeout
2026-03-01T12:00:10Z  web.shop.vm1  instance -  desired 18  applied 18  tried -  applied  -
2026-03-01T12:00:12Z  the newest tree is not served: a.json:1: odd (and 1 more)
2026-03-01T12:00:14Z  the tree is good again
2026-03-01T12:00:16Z  web.shop.vm1  instance -  gone
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestFleetScreen(t *testing.T) {
	var got strings.Builder
	width, height := 60, 6
	s := &screen{out: &got, server: "https://genesis", size: func() (int, int) { return width, height }}
	show := func(fleet serve.Fleet, trouble error) string {
		t.Helper()
		got.Reset()
		if err := s.show(fleet, trouble, fleetNow); err != nil {
			t.Fatal(err)
		}
		return got.String()
	}
	const end = "\x1b[K\n"
	first := "\x1b[2J\x1b[Hhttps://genesis  12:00:00  1 container: 1 behind" + end + end +
		"IDENTITY      INSTANCE  DESIRED  APPLIED  TRIED  STATE   SEE" + end +
		"web.shop.vm1  -         18       17       -      behind  0s " + end + "\x1b[J"
	if diff := cmp.Diff(first, show(shopFleet("behind", 18, 17), nil)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	// Without an answer the last table stays, and why is said above it.
	if got := show(serve.Fleet{}, os.ErrDeadlineExceeded); !strings.HasPrefix(got, "\x1b[Hhttps://genesis  12:00:00  i/o timeout"+end) || !strings.Contains(got, "web.shop.vm1") {
		t.Errorf("without an answer: %q", got)
	}
	s.colour = true
	small := show(someFleet(), nil)
	if n := strings.Count(small, "\n"); n != height-1 {
		t.Errorf("%d lines on a terminal of %d: %q", n, height, small)
	}
	if !strings.Contains(small, "… and 7 more lines: the window is too small") {
		t.Errorf("nothing says that it is cut: %q", small)
	}
	height = 40
	for line := range strings.Lines(show(someFleet(), nil)) {
		if strings.Count(line, "\x1b[3") != strings.Count(line, "\x1b[0m") {
			t.Errorf("a colour goes on: %q", line)
		}
	}
}

// TestFleetCommand has the program ask a real server.
func TestFleetCommand(t *testing.T) {
	g := newGenesis(t).start()
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	operator := g.ca.Dir(t, id(t)(spiffe.ForOperator(identity.DefaultTrustDomain, "desk")))
	fleet := func(args ...string) *exec.Cmd {
		return exec.Command(filepath.Join(dir, "confighub"), append([]string{"fleet", "--server", "https://" + g.address, "--identity", operator}, args...)...)
	}
	out, err := fleet().CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nweb.shop.vm1  -  ") || !strings.Contains(string(out), "  unseen  ") {
		t.Errorf("%v:\n%s", err, out)
	}
	out, err = fleet("--json").Output()
	var answer serve.Fleet
	if err != nil || json.Unmarshal(out, &answer) != nil || len(answer.Containers) != 1 || answer.Schema != serve.FleetSchema {
		t.Errorf("%v: %s", err, out)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--watch", "--json"}, "--watch is for the table"},
		{[]string{"--json", "--recipients"}, "--json and --recipients exclude each other"},
		{[]string{"--server", "http://" + g.address}, "--server: must be https://<host>[:<port>], got \"http://" + g.address},
		{[]string{"--watch", "--server", g.address}, "--server: must be https://<host>[:<port>], got"},
		{[]string{"web.shop.vm1"}, "fleet takes no arguments"},
	} {
		out, err = fleet(tt.args...).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), tt.says) {
			t.Errorf("%v: %v: %s", tt.args, err, out)
		}
	}

	watching, lines := fleet("--watch"), &buffer{}
	watching.Stdout, watching.Stderr = lines, lines
	if err := watching.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watching.Process.Kill() })
	says := func(text string) {
		t.Helper()
		waitFor(t, 20*time.Second, text, func() bool { return strings.Contains(lines.String(), text) }, lines.String)
	}
	says("unseen")
	g.write("hosts/vm1/host.json", `{"stacks": {"shop": {"services": ["web", "db"]}}}`)
	says("Z  db.shop.vm1  instance -  desired ")
	if err := watching.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watching.Wait(); err != nil {
		t.Errorf("interrupted: %v\n%s", err, lines)
	}
}
