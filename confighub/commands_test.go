// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/lint"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
)

// runs executes a command and returns what it printed.
func runs(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	app := daemon.New("confighub", "", sections, newCommand(), renderCommand(), lintCommand(), serveCommand(), statusCommand(),
		holdCommand(), resumeCommand(), rollbackCommand(), acceptCommand())
	app.Writer, app.ErrWriter = &out, &errs
	err = app.RunContext(t.Context(), append([]string{"confighub"}, args...))
	return out.String(), errs.String(), err
}

func TestRenderCommand(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.json.mustache": `{"port": {{port}}, "name": {{name}}{{> more}}}`, "more.mustache": `, "x": {{x.y}}`,
		"one.json": `{"port": 1, /* c */ "name": "n", "x": {"y": [1, 2],},}`, "two.json": `{"port": 2}`, "typo": "{{#prot}}x{{/prot}}{{port}}",
		"bundle/bundle.json": `{"targets": {"/etc/a": {"template": "a"}, "env": {"template": "e", "env": true}}}`, "bundle/templates/a": "{{hub.service}} {{secrets.pw}} {{v}}",
		"bundle/templates/e": "A={{env.TZ}}\n", "bundle/data/d.json": `{"v": 1}`, "outside": "secret", "sub/t": "{{> ../outside}}", "v": "{{v}}",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	tests := []struct{ args, stdout, stderr, err string }{
		{"a.json.mustache --data one.json --data two.json", `{"port": 2, "name": "n", "x": [1,2]}`, "", ""},
		{"--data one.json a.json.mustache --set port=3 --set x.y=text --escape json", `{"port": 3, "name": "n", "x": "text"}`, "", ""},
		{"a.json.mustache --set port=1", "", "", "a.json.mustache:1:28: name: not in the data\nmore.mustache:1:8: x.y: not in the data"},
		{"a.json.mustache --set port=1 --missing empty --partials sub --escape none", `{"port": 1, "name": }`, "", ""},
		{"typo --data one.json", "1", "warning: typo:1:1: prot: this section's key stands nowhere in the data (did you mean port?)\n", ""},
		{"v --set v=a,b", "a,b", "", ""},
		{"sub/t", "", "", "t:1:1: ../outside: no such partial: none of templates/../outside, templates/../outside.mustache is in the bundle"},
		{"bundle --as web.shop.vm1 --set secrets.pw=x --set env.TZ=UTC --set v=2", "==> /etc/a (0600) <==\nweb x 2\n==> environment <==\nA=UTC\n", "", ""},
		{"", "", "", "give one template, or the directory of a bundle"},
		{"typo --missing maybe", "", "", `--missing: must be error or empty, got "maybe"`},
		{"typo --escape csv", "", "", `--escape: must be one of none json yaml toml ini shell nginx xml html properties env, got "csv"`},
		{"typo --set novalue", "", "", `--set: must be path=value, got "novalue"`},
		{"sub", "", "", "sub is no bundle: it holds neither bundle.json nor templates/ nor data/"},
		{"v --set", "", "", "--set: a value is missing"},
		{"typo --nope", "", "", "unknown flag --nope"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, err := runs(t, append([]string{"render"}, strings.Fields(tt.args)...)...)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if stdout != tt.stdout || stderr != tt.stderr || message != tt.err {
				t.Errorf("got %q, %q, %q", stdout, stderr, message)
			}
		})
	}
}

func TestStatusCommand(t *testing.T) {
	run := t.TempDir()
	t.Setenv("HUB_RUN_DIR", run)
	if _, _, err := runs(t, "status"); err == nil || !strings.Contains(err.Error(), "confighub does not run here") {
		t.Errorf("got %v", err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	s := section{
		Applied:  &appliedState{Version: bundle.Version{Serial: 7, Digest: bundle.Digest([]byte("x"))}, Revision: "abc", At: at},
		Rejected: &source.Bad{Version: bundle.Version{Serial: 8, Digest: "d"}, State: bundle.StateRejected, Errors: []string{"a:1:2: x: not in the data", "b"}, At: at},
		Source:   sourceState{Address: "https://genesis.internal:8443", Reached: true}, Targets: []string{"/etc/a", "/etc/b"},
	}
	node := health.Node{Kind: health.KindHub, Name: "config", State: health.Warn, Text: "version 8 was rejected"}
	if err := health.WriteFile(run, health.ConfigFile, node, s, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := identity.WriteStatus(run, identity.Status{State: identity.StateValid, ID: "spiffe://cloud4.internal/host/vm1", NotAfter: at}); err != nil {
		t.Fatal(err)
	}
	stdout, _, err := runs(t, "status")
	want := `health    warn  version 8 was rejected
identity  valid  spiffe://cloud4.internal/host/vm1  until 2026-03-01 12:00:00
source    https://genesis.internal:8443  answers
applied   7 (sha256:2d711642b726…)  revision abc  at 2026-03-01 12:00:00
rejected  8 (d) at 2026-03-01 12:00:00 (rejected)
          a:1:2: x: not in the data
          b
targets   /etc/a
          /etc/b
`
	if err != nil || stdout != want {
		t.Errorf("got\n%s%v", stdout, err)
	}
	s.Rejected, s.Pending = nil, &pendingState{Version: bundle.Version{Serial: 9, Digest: "e"}}
	if err := health.WriteFile(run, health.ConfigFile, node, s, time.Minute); err != nil {
		t.Fatal(err)
	}
	stdout, _, err = runs(t, "status")
	if err != nil || !strings.Contains(stdout, "\npending   9 (e): is being put in place: checked, swapped, and watched for config.settle\n") {
		t.Errorf("got\n%s%v", stdout, err)
	}
	stdout, _, err = runs(t, "status", "--json")
	if err != nil || !strings.Contains(stdout, `"serial": 7`) || !strings.Contains(stdout, `"state": "valid"`) {
		t.Errorf("got\n%s%v", stdout, err)
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hub.json")
	if err := os.WriteFile(file, []byte(`{"config": {
"source": "ftp://x",
"targets": ["relative", "/a[", "/ok/**"],
"trusted_keys": ["nope"],
"actions": {"restart": ["x"], "empty": [], "fine": ["a", "b"]},
"secrets": {"a.b": "/x", "c": "relative"},
"env": ["HUB_TOKEN", "1x", "OK"],
"settle": "1h"
}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := hubfile.Load(hubfile.Source{Path: file}, sections()...)
	for _, want := range []string{"hub.json:8: config.settle: must be between 0s and 5m"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got\n%v\nwithout %s", err, want)
		}
	}
	raw, _ := os.ReadFile(file)
	if err := os.WriteFile(file, bytes.Replace(raw, []byte(`"settle": "1h"`), []byte(`"settle": "1m"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = hubfile.Load(hubfile.Source{Path: file}, sections()...)
	for _, want := range []string{
		"config.source: must be https://<host>[:<port>] or dir:<absolute path>", "config.targets[0]: must be an absolute", "config.targets[1]: must be an absolute",
		"config.trusted_keys[0]: must be", "config.actions.restart: must be a name", "config.actions.empty: must be a command",
		"config.secrets.a.b: must be a name", "config.secrets.c: must be the absolute path", "config.env[0]: must be the name", "config.env[1]: must be the name",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got\n%v\nwithout %s", err, want)
		}
	}
	if problems, ok := errors.AsType[hubfile.Problems](err); !ok || len(problems) != 10 {
		t.Errorf("%d problems:\n%v", len(problems), err)
	}
	s := new(allSettings)
	if _, err := hubfile.Load(hubfile.Source{Path: filepath.Join(dir, "none.json")}, s.sections()...); err != nil {
		t.Fatal(err)
	}
	if s.Config.Settle != 10*time.Second || s.Config.StartWait != 2*time.Second || strings.Join(s.Config.Targets, " ") != "/etc /srv /opt /run" {
		t.Errorf("defaults: %+v", s.Config)
	}
	s.Config.Source = "https://genesis.internal:8443"
	if err := s.contradiction(); err == nil || !strings.Contains(err.Error(), "set identity.ca_url") {
		t.Errorf("got %v", err)
	}
	if err := s.saveGood(dir); err != nil {
		t.Fatal(err)
	}
	kept, err := loadGood(dir)
	if err != nil || kept.Config.Source != s.Config.Source || kept.Config.Settle != s.Config.Settle {
		t.Errorf("kept %+v, %v", kept, err)
	}
	if _, err := loadGood(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// The example that people start from has nothing to be said of.
func TestLintExamples(t *testing.T) {
	stdout, stderr, err := runs(t, "lint", "../examples/genesis/tree", "--strict")
	if err != nil || stdout != "" {
		t.Errorf("%s%s%v", stdout, stderr, err)
	}
}

// On a terminal findings stand in columns.
func TestFindingsForPeople(t *testing.T) {
	var got strings.Builder
	err := writeAligned(&got, []lint.Finding{
		{Place: lint.Place{File: "a", Line: 1, Column: 2}, Level: lint.Error, Message: "is wrong"},
		{Place: lint.Place{File: "longer"}, Level: lint.Warning, Message: "may be wrong", Fix: "do this"},
	})
	want := "a:1:2   \x1b[31merror\x1b[0m    is wrong\nlonger  \x1b[33mwarning\x1b[0m  may be wrong\x1b[2m (do this)\x1b[0m\n"
	if err != nil || got.String() != want {
		t.Errorf("got %q, %v", &got, err)
	}
}
