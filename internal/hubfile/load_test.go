// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"cloud4.internal/hub/internal/hubfile"
)

// world is a test case as a txtar archive: the settings files by their names, "environ" with a variable a line, and
// "want" with the expected problems. $DIR stands for the directory that the files are in.
type world struct {
	src  hubfile.Source
	dir  string
	want string
}

func unpack(t *testing.T, archive string) world {
	t.Helper()
	ar, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	w := world{dir: t.TempDir()}
	w.src.Path = filepath.Join(w.dir, "hub.json")
	for _, f := range ar.Files {
		data := strings.ReplaceAll(string(f.Data), "$DIR", w.dir)
		switch f.Name {
		case "want":
			w.want = data
		case "environ":
			w.src.Environ = strings.Split(strings.TrimSuffix(data, "\n"), "\n")
		default:
			write(t, filepath.Join(w.dir, f.Name), data)
		}
	}
	return w
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func archives(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases in testdata/%s: %v", dir, err)
	}
	return found
}

// TestBad refuses every world in testdata/bad with exactly the messages it asks for.
func TestBad(t *testing.T) {
	for _, archive := range archives(t, "bad") {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			w := unpack(t, archive)
			_, _, asked := sections()
			_, err := hubfile.Load(w.src, asked...)
			var problems hubfile.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("want Problems, got %v", err)
			}
			if diff := cmp.Diff(w.want, err.Error()+"\n"); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGood takes every world in testdata/good, with the warnings it asks for.
func TestGood(t *testing.T) {
	for _, archive := range archives(t, "good") {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			w := unpack(t, archive)
			_, _, asked := sections()
			settings, err := hubfile.Load(w.src, asked...)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(w.want, "\n")
			if diff := cmp.Diff(want, settings.Warnings().Error()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValues(t *testing.T) {
	w := unpack(t, "testdata/good/everything.txtar")
	gotIdentity, gotHealth, asked := sections()
	settings, err := hubfile.Load(w.src, asked...)
	if err != nil {
		t.Fatal(err)
	}
	level, since := "warn", instant(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	wantHealth := &health{
		ReportTo: "https://vm1.internal:8444",
		Every:    2 * time.Second,
		Strict:   false,
		Retries:  5,
		Workers:  2,
		Ratio:    0.25,
		Body:     64 << 20,
		WaitFor:  []string{"tcp://db:5432"},
		Level:    &level,
		Page:     page{Title: "health", Port: 9000},
		Checks: map[string]check{
			"page":  {Kind: "http", URL: "http://127.0.0.1/", Interval: 30 * time.Second, Timeout: 3 * time.Second, Codes: []int{200, 204}},
			"added": {Kind: "tcp", Interval: 10 * time.Second, Timeout: 3 * time.Second},
		},
		Actions: map[string][]string{"reload": {"nginx", "-s", "reload"}},
		Modes:   map[string]string{"a": "on"},
		Extra:   map[string]any{"list": []any{true, nil, "x"}},
		Raw:     []byte(`{"any":[1,2.50]}`),
		Since:   &since,
		private: 7,
	}
	if diff := cmp.Diff(wantHealth, gotHealth, cmp.AllowUnexported(health{}), cmpopts.EquateComparable(instant{})); diff != "" {
		t.Errorf("health (-want +got):\n%s", diff)
	}
	wantIdentity := &identity{Host: "vm1", Stack: "from a file", Token: "12345678"}
	if diff := cmp.Diff(wantIdentity, gotIdentity); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"identity.host":               "hub.json:3",
		"identity.stack":              "HUB_IDENTITY_STACK_FILE",
		"identity.token":              "HUB_IDENTITY_TOKEN",
		"health.workers":              "default",
		"health.every":                "hub.d/20-b.json:3",
		"health.checks":               "hub.json:23",
		"health.checks.page":          "hub.json:24",
		"health.checks.page.interval": "hub.d/10-a.json:5",
		"health.checks.page.codes[1]": "hub.json:29",
		"health.checks.added.kind":    "default",
		"health.page.port":            "HUB_HEALTH_PAGE_PORT",
	} {
		if got := settings.Origin(key); got != want {
			t.Errorf("Origin(%q) = %q, want %q", key, got, want)
		}
	}
}

// TestDefaults shows that no file at all is a working container.
func TestDefaults(t *testing.T) {
	for name, content := range map[string]*string{
		"missing": nil, "empty": new(string), "comment": ptr("// nothing yet\n"), "object": ptr("{}"), "nulls": ptr(`{"identity": null, "health": {"every": null, "page": null}}`),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hub.json")
			if content != nil {
				write(t, path, *content)
			}
			_, got, asked := sections()
			settings, err := hubfile.Load(hubfile.Source{Path: path}, asked...)
			if err != nil {
				t.Fatal(err)
			}
			want := &health{
				Every: 10 * time.Second, Strict: true, Retries: 3, Workers: 2, Ratio: 0.5, Body: 1 << 20,
				WaitFor: []string{"tcp://a:1", "tcp://b:2"}, Page: page{Title: "health", Port: 8480}, private: 7,
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(health{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(settings.Warnings()) != 0 {
				t.Errorf("warnings: %v", settings.Warnings())
			}
		})
	}
}

func ptr(s string) *string { return &s }

// TestUnreadable is about files whose content is out of reach or beyond the limits.
func TestUnreadable(t *testing.T) {
	type setup func(t *testing.T, dir string)
	file := func(name, data string) setup {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), data) }
	}
	tests := map[string]struct {
		setup setup
		want  string
	}{
		"directory": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "hub.json", "x"), "") },
			`hub.json: reading "$DIR/hub.json": is a directory, not a regular file`,
		},
		"drop-in is a directory": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "hub.d", "a.json", "x"), "") },
			`hub.d/a.json: reading "$DIR/hub.d/a.json": is a directory, not a regular file`,
		},
		"drop-in is a broken link": {
			func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "hub.json"), "")
				if err := os.Mkdir(filepath.Join(dir, "hub.d"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("nowhere", filepath.Join(dir, "hub.d", "a.json")); err != nil {
					t.Fatal(err)
				}
			},
			`hub.d/a.json: reading "$DIR/hub.d/a.json": no such file or directory`,
		},
		"hub.d is a file": {file("hub.d", ""), `hub.d: reading "$DIR/hub.d": not a directory`},
		"too large": {
			file("hub.json", `{"health": {}} //`+strings.Repeat(" ", 1<<20)),
			`hub.json: reading "$DIR/hub.json": larger than 1024 KiB`,
		},
		"too many drop-ins": {
			func(t *testing.T, dir string) {
				for i := range 65 {
					write(t, filepath.Join(dir, "hub.d", fmt.Sprintf("%02d.json", i)), "{}")
				}
			},
			`hub.d: 65 drop-ins, more than 64: join some of them`,
		},
		"too deep": {
			file("hub.json", "{\n\"health\":"+strings.Repeat("\n[", 32)),
			"hub.json:34: nested deeper than 32 levels",
		},
		"absurdly deep": {file("hub.json", strings.Repeat("[", 1<<20)), "hub.json:1: nested deeper than 32 levels"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.setup(t, dir)
			_, _, asked := sections()
			_, err := hubfile.Load(hubfile.Source{Path: filepath.Join(dir, "hub.json")}, asked...)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir, "$DIR")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotRegular does not wait for what may never begin or end.
func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	settings, dropIn, pipe := path("hub.json"), path("hub.d/a.json"), path("pipe")
	write(t, path("long"), strings.Repeat("x", 64<<10+1))
	if err := errors.Join(os.Mkdir(path("hub.d"), 0o755), syscall.Mkfifo(pipe, 0o600), os.Symlink(pipe, settings), os.Symlink("/dev/zero", dropIn)); err != nil {
		t.Fatal(err)
	}
	want := `hub.json: reading "$DIR/hub.json": is a pipe, not a regular file
hub.d/a.json: reading "$DIR/hub.d/a.json": is a device, not a regular file
HUB_IDENTITY_HOST_FILE: identity.host: reading "$DIR/pipe": is a pipe, not a regular file
HUB_IDENTITY_STACK_FILE: identity.stack: reading "$DIR/long": larger than 64 KiB`
	_, _, asked := sections()
	_, err := hubfile.Load(hubfile.Source{Path: settings, Environ: []string{
		"HUB_IDENTITY_HOST_FILE=" + pipe, "HUB_IDENTITY_STACK_FILE=" + path("long"),
	}}, asked...)
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), dir, "$DIR")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLimitsHold takes what is exactly at the limits.
func TestLimitsHold(t *testing.T) {
	dir := t.TempDir()
	start := []byte(`{"health": {"extra": ` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}} //")
	write(t, filepath.Join(dir, "hub.json"), string(start)+string(bytes.Repeat([]byte("x"), 1<<20-len(start))))
	for i := range 64 {
		write(t, filepath.Join(dir, "hub.d", fmt.Sprintf("%02d.json", i)), "{}")
	}
	write(t, filepath.Join(dir, "hub.d", ".hidden.json"), "not read")
	write(t, filepath.Join(dir, "hub.d", "backup.json~"), "not read")
	_, _, asked := sections()
	if _, err := hubfile.Load(hubfile.Source{Path: filepath.Join(dir, "hub.json")}, asked...); err != nil {
		t.Fatal(err)
	}
}

// TestUnasked leaves what other hubs read alone, whatever it is.
func TestUnasked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.json")
	write(t, path, `{"health": 5, "log": {"nonsense": true}, "identity": {"host": "vm1"}}`)
	i, _, asked := sections()
	settings, err := hubfile.Load(hubfile.Source{Path: path, Environ: []string{"HUB_HEALTH_EVER=1s", "HUB_LOG_FDS=stdout=5", "HUB_LOG_X=1"}}, asked[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(settings.Warnings()) != 0 || i.Host != "vm1" {
		t.Errorf("warnings %v, host %q", settings.Warnings(), i.Host)
	}
}

// TestMistakes panics on section types that no setting can have.
func TestMistakes(t *testing.T) {
	type loop struct {
		Next *loop `json:"next"`
	}
	for name, into := range map[string]any{
		"no pointer": health{},
		"nil":        nil,
		"channel": &struct {
			C chan int `json:"c"`
		}{},
		"no tag": &struct{ A string }{},
		"bad default": &struct {
			A time.Duration `json:"a" default:"soon"`
		}{},
		"out of range": &struct {
			A int `json:"a" default:"5" max:"4"`
		}{},
		"bad limit": &struct {
			A int `json:"a" min:"few"`
		}{},
		"no limit": &struct {
			A bool `json:"a" min:"1"`
		}{},
		"same variable": &struct {
			A struct {
				B string `json:"b"`
			} `json:"a"`
			C string `json:"a_b"`
		}{},
		"variable of a file": &struct {
			A string `json:"a"`
			B string `json:"a_file"`
		}{},
		"loop": &loop{},
		"variable of hubinit": &struct {
			A string `json:"fds"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got, ok := recover().(string); !ok || !strings.HasPrefix(got, "hubfile: ") {
					t.Errorf("want a panic with a reason, got %v", got)
				}
			}()
			section := "x"
			if name == "variable of hubinit" {
				section = "log"
			}
			hubfile.Load(hubfile.Source{}, hubfile.Section{Name: section, Into: into})
		})
	}
}
