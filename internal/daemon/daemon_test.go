// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"cloud4.internal/hub/internal/hubfile"
)

// testSettings are the settings of the test's program.
type testSettings struct {
	Interval time.Duration `json:"interval" default:"10s" min:"1s"`
	Name     string        `json:"name"`
}

func testSections() []hubfile.Section {
	return []hubfile.Section{{Name: "log", Into: &testSettings{}}}
}

// testApp is a program with a command for every way to end.
func testApp() *cli.App {
	ends := func(name string, err error) *cli.Command {
		return &cli.Command{Name: name, Action: func(*cli.Context) error { return err }}
	}
	return New("prog", "is a test", testSections,
		ends("done", nil),
		ends("failing", errors.New("reading \"/x\": broken")),
		ends("wrong", Usage(errors.New("give two names"))),
		ends("settings", fmt.Errorf("starting: %w", hubfile.Problems{{Origin: "hub.json:1", Key: "a", Message: "is bad"}, {Origin: "hub.json:2", Key: "b", Message: "is bad"}})),
		ends("said", ErrSaid),
		&cli.Command{
			Name:        "flags",
			Flags:       []cli.Flag{&cli.StringFlag{Name: "must"}, &cli.StringFlag{Name: "too"}, &cli.IntFlag{Name: "count"}},
			Action:      func(c *cli.Context) error { return Missing(c, "must", "too") },
			Subcommands: []*cli.Command{ends("below", nil)},
		},
		&cli.Command{Name: "panicking", Action: Service(func(c *cli.Context, log zerolog.Logger) error {
			go func() { panic("a defect") }()
			<-c.Context.Done()
			return nil
		})},
		&cli.Command{Name: "run", Action: Service(func(c *cli.Context, log zerolog.Logger) error {
			into := &testSettings{}
			if _, err := Settings(c, log, hubfile.Section{Name: "log", Into: into}); err != nil {
				return err
			}
			dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
			if err != nil {
				return err
			}
			log.Info().Int("dumpable", dumpable).Msg("started")
			<-c.Context.Done()
			return fmt.Errorf("waiting: %w", c.Context.Err())
		})},
	)
}

// result is what a program leaves behind.
type result struct {
	Code        int
	Out, Stderr string
}

func runApp(t *testing.T, ctx context.Context, args ...string) result {
	t.Helper()
	app := testApp()
	var out, stderr bytes.Buffer
	app.Writer, app.ErrWriter = &out, &stderr
	code := run(ctx, app, append([]string{"prog"}, args...))
	return result{code, out.String(), stderr.String()}
}

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"done":                       {[]string{"done"}, 0, ""},
		"failed":                     {[]string{"failing"}, 1, "prog: reading \"/x\": broken\n"},
		"said":                       {[]string{"said"}, 1, ""},
		"wrong usage":                {[]string{"wrong"}, 2, "prog: give two names\n"},
		"wrong settings":             {[]string{"settings"}, 2, "prog: hub.json:1: a: is bad\nprog: hub.json:2: b: is bad\n"},
		"no command":                 {nil, 2, "prog: a command is missing; prog --help lists them\n"},
		"unknown command":            {[]string{"fail"}, 2, "prog: unknown command \"fail\"; prog --help lists them\n"},
		"unknown flag":               {[]string{"--colour"}, 2, "prog: unknown flag --colour\n"},
		"unknown flag of a command":  {[]string{"done", "--colour"}, 2, "prog: unknown flag --colour\n"},
		"unknown flag further below": {[]string{"flags", "--must=1", "below", "--colour"}, 2, "prog: unknown flag --colour\n"},
		"missing flag":               {[]string{"flags"}, 2, "prog: --must is missing\n--too is missing\n"},
		"missing flag's value":       {[]string{"flags", "--count"}, 2, "prog: --count: a value is missing\n"},
		"all flags":                  {[]string{"flags", "--must=1", "--too=2"}, 0, ""},
		"an argument":                {[]string{"done", "now"}, 2, "prog: done takes no arguments, got \"now\"\n"},
		"not a number":               {[]string{"flags", "--must=1", "--count", "x"}, 2, "prog: --count: invalid value \"x\": parse error\n"},
		"check and command":          {[]string{"--check", "done"}, 2, "prog: --check and --schema stand alone, without \"done\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := runApp(t, t.Context(), test.args...)
			if got.Code != test.code {
				t.Errorf("exit code %d, want %d", got.Code, test.code)
			}
			if diff := cmp.Diff(test.stderr, got.Stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsageOfNothing(t *testing.T) {
	if err := Usage(nil); err != nil {
		t.Errorf("Usage(nil) = %v", err)
	}
}

// configFile writes a settings file.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	bad := configFile(t, "{\"log\": {\n\"interval\": \"0s\",\n\"nam\": 1}}")
	t.Setenv("HUB_COLOUR", "blue")
	warning := "prog: warning: HUB_COLOUR: unknown variable, nothing reads it\n"
	for name, test := range map[string]struct {
		args []string
		want result
	}{
		"good": {[]string{"--config", configFile(t, "{}"), "--check"}, result{0, "settings are good\n", warning}},
		"bad": {[]string{"--config", bad, "--check"}, result{2, "", warning +
			"prog: hub.json:2: log.interval: must be at least 1s, got \"0s\"\n" +
			"prog: hub.json:3: log.nam: unknown key, did you mean \"name\"?\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, runApp(t, t.Context(), test.args...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("missing file", func(t *testing.T) {
		want := result{2, "", warning + "prog: /nowhere/hub.json does not exist: give the settings file that there is, or none\n"}
		if diff := cmp.Diff(want, runApp(t, t.Context(), "--config", "/nowhere/hub.json", "--check")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("file by variable", func(t *testing.T) {
		t.Setenv("HUB_CONFIG", bad)
		if got := runApp(t, t.Context(), "--check"); got.Code != ExitUsage {
			t.Errorf("HUB_CONFIG was not read: %+v", got)
		}
	})
}

func TestSchemaAndVersion(t *testing.T) {
	got := runApp(t, t.Context(), "--schema")
	if got.Code != 0 || !json.Valid([]byte(got.Out)) || !strings.Contains(got.Out, `"interval"`) {
		t.Errorf("--schema: %+v", got)
	}
	if got := runApp(t, t.Context(), "--version"); got.Code != 0 || got.Out != "prog version "+Version()+"\n" {
		t.Errorf("--version: %+v", got)
	}
}

// TestServiceStops ends a running service the way a signal does, with its cause in the log and exit code 0.
func TestServiceStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to"))
	got := runApp(t, ctx, "--config", configFile(t, "{}"), "run")
	if got.Code != 0 {
		t.Errorf("exit code %d: %s", got.Code, got.Stderr)
	}
	logs := strings.Split(strings.TrimSpace(got.Stderr), "\n")
	var last map[string]any
	if err := json.Unmarshal([]byte(logs[len(logs)-1]), &last); err != nil {
		t.Fatalf("%v in %s", err, got.Stderr)
	}
	delete(last, "time")
	if diff := cmp.Diff(map[string]any{"level": "info", "program": "prog", "message": "stopped", "cause": "told to"}, last); diff != "" {
		t.Errorf("last line (-want +got):\n%s", diff)
	}
}

// TestServiceWithoutFile warns when a file that was named is not there.
func TestServiceWithoutFile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := runApp(t, ctx, "--config", "/nowhere/hub.json", "run")
	if got.Code != 0 || !strings.Contains(got.Stderr, `"path":"/nowhere/hub.json"`) {
		t.Errorf("no word of the missing file: %+v", got)
	}
}

// TestServiceSettings logs each problem of the settings once, and ends with 2, which hubinit takes as final.
func TestServiceSettings(t *testing.T) {
	got := runApp(t, t.Context(), "--config", configFile(t, `{"log": {"interval": 1, "nam": 2}}`), "run")
	if got.Code != ExitUsage {
		t.Errorf("exit code %d, want %d", got.Code, ExitUsage)
	}
	var messages []string
	for line := range strings.Lines(got.Stderr) {
		var entry struct{ Level, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		messages = append(messages, entry.Level+" "+entry.Message)
	}
	want := []string{
		`error hub.json:1: log.interval: must be a duration such as "10s", got 1`,
		`error hub.json:1: log.nam: unknown key, did you mean "name"?`,
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
