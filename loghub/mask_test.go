// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/mask"
	"github.com/google/go-cmp/cmp"
)

// handOver gives the container the memory file that hubinit makes, and returns confighub's end of it.
func (c *container) handOver() *initctl.Secrets {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "secrets")
	w := must(os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600))
	c.secrets = must(os.Open(path))
	c.t.Cleanup(func() { w.Close(); c.secrets.Close() })
	return initctl.NewSecrets(w)
}

// TestMasking: what confighub hands over is hidden in the very next line, of pipes and files, also by a loghub that was killed
// and came back; what is hidden and what is not stands in log.json by name; and no path leads around it.
func TestMasking(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	logs := t.TempDir()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "stdout": "json", "files": {"app": {"path": "%s/*.log"}}}}`, g.url(), logs))
	c.env = []string{"DB_PASSWORD=correct-horse-battery", "API_TOKEN=short", "STAGE=staging-one", "STAGE_KEY=staging-one"}
	confighub := c.handOver()
	give := func(name, value string) {
		t.Helper()
		if left, err := confighub.Add([]initctl.Secret{{Name: name, Value: value}}); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	c.enrol(g.ca, webID)
	h := c.start()
	arrives := func(h *hub, print, want string) {
		t.Helper()
		fmt.Fprint(c.pipes["stdout"].w, print)
		waitFor(t, time.Minute, want, func() bool {
			return slices.Contains(g.messages(nil), want)
		})
	}
	arrives(h, "1 correct-horse-battery opened-by-1\n", "1 ***DB_PASSWORD*** opened-by-1")
	give("db.password", "opened-by-confighub")
	arrives(h, "2 opened-by-confighub\n", "2 ***db.password***")
	h.kill()
	h = c.start()
	arrives(h, "3 opened-by-confighub\n", "3 ***db.password***")
	h.kill()
	give("more", "given-while-down\nand-a-second-line")
	fmt.Fprint(c.pipes["stdout"].w, "4 given-while-")
	h = c.start()
	time.Sleep(partOfALine)
	arrives(h, "down\n", "4 ***more***")
	if err := os.WriteFile(filepath.Join(logs, "a.log"), []byte("5 and-a-second-line "+base64.StdEncoding.EncodeToString([]byte("x:opened-by-confighub"))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, time.Minute, "the file's line", func() bool {
		return slices.ContainsFunc(g.messages(nil), func(m string) bool { return strings.HasPrefix(m, "5 ***more*** eD***db.password***") })
	})
	// Neither a pause in the middle of it nor the end of what a record takes parts a secret.
	arrives(h, "6 opened-by-conf", "6 ***db.password***")
	arrives(h, "ighub!\n", "***db.password***!")
	arrives(h, strings.Repeat("7", frame.MaxLine-10)+"correct-horse-battery!\n", "***DB_PASSWORD***!")
	var found *mask.Found
	waitFor(t, time.Minute, "log.json", func() bool { _, s := c.logState(); found = s.Masked; return found != nil && len(found.Hidden) == 3 })
	if diff := cmp.Diff(&mask.Found{Hidden: []string{"DB_PASSWORD", "db.password", "more"}, LeftOut: []mask.Left{
		{Name: "API_TOKEN", Why: "shorter than 8 bytes"}, {Name: "STAGE_KEY", Why: "also the value of STAGE"}}}, found); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(h.log.String(), `"secrets":{"also the value of STAGE":["STAGE_KEY"],"shorter than 8 bytes":["API_TOKEN"]},`) ||
		strings.Count(h.log.String(), "not hidden in events") != 1 {
		t.Errorf("what is not hidden is not said once:\n%s", h.log)
	}

	// What the receiver does not take goes to the dead letters, masked.
	front := func(w http.ResponseWriter, r *http.Request) bool {
		text, restore := readBody(r)
		restore()
		if strings.Contains(text, "poison") {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	}
	g.front.Store(&front)
	fmt.Fprint(c.pipes["stdout"].w, "poison correct-horse-battery\nopened-by-confighub is last\n")
	waitFor(t, time.Minute, "the line after it", func() bool { return slices.Contains(g.messages(nil), "***db.password*** is last") })
	h.stop(t)
	for _, file := range append(must(filepath.Glob(filepath.Join(c.state, "log", "*dead*"))), c.out.Name(), c.err.Name()) {
		text := must(os.ReadFile(file))
		for _, secret := range []string{"correct-horse-battery", "opened-by-conf", "given-while-down", "and-a-second-line", "correct-ho", "se-battery"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s shows %s", file, secret)
			}
		}
		if !strings.HasSuffix(file, "err") && !bytes.Contains(text, []byte("***DB_PASSWORD***")) {
			t.Errorf("%s has none of it:\n%.500q", file, text)
		}
	}
	if len(must(filepath.Glob(filepath.Join(c.state, "log", "*dead*")))) == 0 {
		t.Error("no dead letter")
	}
}

// partOfALine is how long loghub has to take in a part of a line before the rest comes; whether it did is no matter of the test.
const partOfALine = 50 * time.Millisecond

// TestMaskOff: log.mask false hides nothing, and says nothing of it.
func TestMaskOff(t *testing.T) {
	t.Parallel()
	c := newContainer(t, `{"log": {"stdout": "json", "mask": false}}`)
	c.env = []string{"DB_PASSWORD=correct-horse-battery", "API_TOKEN=short"}
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "it is correct-horse-battery\n")
	waitFor(t, time.Minute, "the line", func() bool { return strings.Contains(content(t, c.out), "it is correct-horse-battery") })
	h.stop(t)
	if _, s := c.logState(); s.Masked != nil || strings.Contains(h.log.String(), "API_TOKEN") {
		t.Errorf("%+v\n%s", s.Masked, h.log)
	}
}

// TestMaskPatterns: log.mask_patterns hides by looks, also where log.mask is off, also across the pieces of a line; what is no
// pattern is refused.
func TestMaskPatterns(t *testing.T) {
	t.Parallel()
	c := newContainer(t, `{"log": {"stdout": "json", "mask": false, "mask_patterns": ["cards", "tokens"]}}`)
	c.env = []string{"DB_PASSWORD=correct-horse-battery"}
	h := c.start()
	print := func(text, want string) {
		t.Helper()
		fmt.Fprint(c.pipes["stdout"].w, text)
		waitFor(t, time.Minute, want, func() bool { return strings.Contains(content(t, c.out), want) })
	}
	print(`{"msg":"pay","pan":"4111 1111 1111 1111","auth":"Bearer abcdefgh12345678","own":"correct-horse-battery"}`+"\n", `"pay"`)
	print("it is 5425233430", "it is ***card***") // its end keeps people waiting
	print("109903 ends\n", "9903 ends")
	out := content(t, c.out)
	for _, want := range []string{"***card***1111", "Bearer ***token***", "correct-horse-battery"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, secret := range []string{"4111 1111", "abcdefgh", "54252334", "109903"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	h.stop(t)
	if _, s := c.logState(); !cmp.Equal(s.Masked, &mask.Found{Patterns: []string{"cards", "tokens"}}) {
		t.Errorf("%+v", s.Masked)
	}
}

func TestMaskedNames(t *testing.T) {
	var many mask.Found
	for i := range maxNames + 2 {
		many.Hidden = append(many.Hidden, fmt.Sprint("K", i))
	}
	for _, tt := range []struct {
		found mask.Found
		want  string
	}{
		{mask.Found{}, "none known"},
		{mask.Found{Hidden: []string{"DB_PASSWORD", "secrets/\x1b[31mdb"}, LeftOut: []mask.Left{{Name: "A", Why: "x"}, {Name: "B", Why: "y"}}},
			"hidden: DB_PASSWORD, secrets/" + health.CleanText("\x1b[31mdb") + "; not hidden: A (x), B (y)"},
		{mask.Found{Patterns: []string{"cards", "tokens"}}, "by their looks: cards, tokens"},
		{mask.Found{Hidden: []string{}, Patterns: []string{"cards"}}, "none known; by their looks: cards"},
		{many, "hidden: " + strings.Join(many.Hidden[:maxNames], ", ") + " and 2 more"},
	} {
		if got := masked(&tt.found); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
