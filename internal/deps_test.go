// SPDX-License-Identifier: AGPL-3.0-or-later

package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "cloud4.internal/hub/"

// pkg is what `go list -json` says about a package.
type pkg struct {
	Dir, ImportPath, Name, Doc                         string
	Standard                                           bool
	Imports, TestImports, XTestImports                 []string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
	Deps                                               []string
}

// kit reports whether a package is for tests alone; by custom its name says so, as in net/http/httptest.
func kit(importPath string) bool { return strings.HasSuffix(importPath, "test") }

// forbidden are imports that must not be, by the patterns of within. Tests may import what their package may not.
var forbidden = []struct {
	from, to []string
	except   []string // of from
	but      []string // of to
	reason   string
}{
	{
		from: []string{"confighub/..."}, to: []string{"healthhub/...", "loghub/...", "baseimage/...", "examples/..."},
		reason: "the hubs know each other through /run/hub and the wire only: each must run without the others",
	},
	{
		from: []string{"healthhub/..."}, to: []string{"confighub/...", "loghub/...", "baseimage/...", "examples/..."},
		reason: "the hubs know each other through /run/hub and the wire only: each must run without the others",
	},
	{
		from: []string{"loghub/..."}, to: []string{"confighub/...", "healthhub/...", "baseimage/...", "examples/..."},
		reason: "the hubs know each other through /run/hub and the wire only: each must run without the others",
	},
	{
		from: []string{"internal/..."}, to: []string{"confighub/...", "healthhub/...", "loghub/...", "baseimage/...", "examples/..."},
		reason: "imports go down: what is shared does not know who shares it",
	},
	{
		from: []string{"..."}, except: []string{"confighub/internal/enrol", "internal/identity/identitytest"},
		to:     []string{"github.com/smallstep/...", "go.step.sm/..."},
		reason: "the certificate authority's code brings hundreds of packages: one package talks to it, one is it in tests",
	},
	{
		from: []string{"..."}, except: []string{"confighub/..."},
		to:     []string{"go.opentelemetry.io/otel/..."},
		reason: "SDK and exporters cost megabytes and gRPC, which confighub links anyway; the others send what they count through internal/otlp",
	},
	{
		from: []string{"..."}, except: []string{"internal/identity/identitytest"},
		to:     []string{"google.golang.org/protobuf/...", "go.opentelemetry.io/proto/..."},
		reason: "internal/otlp writes and reads the bytes itself; generated code is what its tests compare with",
	},
	{
		from: []string{"..."}, except: []string{"internal/hubfile", "confighub/..."},
		to:     []string{"github.com/tailscale/hujson"},
		reason: "settings are read by hubfile, bundles and data by confighub; between programs there is plain JSON",
	},
	{
		from: []string{"..."}, except: []string{"confighub/internal/template"},
		to:     []string{"github.com/cbroglie/mustache"},
		reason: "the traps of the engine are dealt with in one place",
	},
	{
		from: []string{"..."}, except: []string{"confighub/internal/seal"},
		to:     []string{"filippo.io/age/..."},
		reason: "who can open what is decided in one place",
	},
	{
		from: []string{"..."}, to: []string{"github.com/blues/..."},
		reason: "an engine for tests; nothing here reads JSONata",
	},
	{
		from: []string{"internal/daemon"}, to: []string{"internal/..."}, but: []string{"internal/hubfile", "internal/initctl"},
		reason: "every program links it: it brings nothing that one of them could do without",
	},
	{
		from: []string{"internal/hubfile"}, to: []string{"internal/..."}, but: []string{"internal/initctl"},
		reason: "settings are read before anything else is there; initctl names the variables that are not settings",
	},
	{
		from: []string{"internal/otlp"}, to: []string{"internal/..."},
		reason: "it is a wire format, no more",
	},
}

// standardOnly link nothing but the standard library and each other.
var standardOnly = map[string]string{ // package → why
	"internal/atomicfile": "hubinit links it",
	"internal/backoff":    "hubinit links it",
	"internal/health":     "hubinit links it",
	"internal/initctl":    "hubinit links it",
	"internal/spiffe":     "what decides who somebody is must be readable in one sitting",
	"internal/identity":   "it holds the key",
	"internal/mtls":       "it decides who may connect",
}

// hubinit is process 1: it may import these and the standard library without what is named below.
var (
	hubinitMayImport = []string{"internal/initctl", "internal/health", "internal/atomicfile", "internal/backoff"}
	hubinitMustNot   = map[string]string{ // package → why
		"net":           "process 1 opens no socket",
		"net/http":      "process 1 opens no socket and parses nothing remote",
		"text/template": "reflection over methods keeps the linker from dropping unused code: megabytes in every container",
		"os/exec":       "it waits for its children itself, and there is one reaper",
	}
)

// modules are those that go.mod may require directly, each with its reason. Other modules come with these.
var modules = map[string]string{
	"filippo.io/age":                                                    "seals values for single containers, in a form that other tools read too",
	"github.com/blues/jsonata-go":                                       "the tests run the expressions of docs/dashboards.md as Uptime Kuma and Grafana Infinity do",
	"github.com/bmatcuk/doublestar/v4":                                  "globs with ** for targets and log files; path.Match has none",
	"github.com/BurntSushi/toml":                                        "lint reads what is rendered to TOML, and so do the tests of the template escapers: what was put in comes out",
	"github.com/cbroglie/mustache":                                      "templates",
	"github.com/chromedp/cdproto":                                       "likewise, what chromedp has no word for itself: colour scheme, without scripts, console",
	"github.com/chromedp/chromedp":                                      "the dashboard is tested in a real browser; tests alone import it",
	"github.com/fsnotify/fsnotify":                                      "a change of the genesis tree is seen at once",
	"github.com/go-chi/chi/v5":                                          "the router that the authority's API registers itself with (identitytest)",
	"github.com/google/go-cmp":                                          "tests say what differs",
	"github.com/hashicorp/go-retryablehttp":                             "HTTP with bounded, jittered retries that honour Retry-After",
	"github.com/klauspost/compress":                                     "gzip at several times the speed of the standard library's, on the log path",
	"github.com/magiconair/properties":                                  "likewise, properties files",
	"github.com/rogpeppe/go-internal":                                   "unified diffs, by the algorithm of the go command itself; commands are tested as text scripts",
	"github.com/rs/zerolog":                                             "the programs' own log",
	"github.com/smallstep/certificates":                                 "enrolment and renewal at step-ca; the authority itself in tests and in the demo",
	"github.com/smallstep/cli-utils":                                    "step-ca's paths are set through it (identitytest)",
	"github.com/tailscale/hujson":                                       "JSON with comments and trailing commas, with offsets",
	"github.com/urfave/cli/v2":                                          "command lines, with help and completion",
	"go.opentelemetry.io/otel":                                          "traces and metrics of confighub, when OTEL_* is set",
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp": "likewise, sends the metrics",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp":   "likewise, sends the traces",
	"go.opentelemetry.io/otel/metric":                                   "likewise, the interfaces of its metrics",
	"go.opentelemetry.io/otel/sdk":                                      "likewise",
	"go.opentelemetry.io/otel/sdk/metric":                               "likewise",
	"go.opentelemetry.io/otel/trace":                                    "likewise, the interfaces of its traces",
	"go.opentelemetry.io/proto/slim/otlp":                               "the generated code that internal/otlp is tested against, without gRPC",
	"go.step.sm/crypto":                                                 "one-time tokens, in step-ca's form",
	"go.yaml.in/yaml/v3":                                                "likewise, YAML",
	"golang.org/x/crypto":                                               "reads OpenSSH's private keys, encrypted ones too, to sign versions with",
	"golang.org/x/net":                                                  "likewise, HTML; a check asks a name server (dns/dnsmessage, which the standard library has, and keeps to itself)",
	"golang.org/x/sys":                                                  "system calls that package syscall lacks: prctl, tee, memfd_create, openat2",
	"golang.org/x/term":                                                 "is this a terminal; reads a passphrase from one",
	"google.golang.org/protobuf":                                        "runs the generated code that internal/otlp is tested against",
	"gopkg.in/ini.v1":                                                   "likewise, INI files",
}

// list asks the go command about packages, with the tags that the Makefile builds with and without cgo, as it builds.
func list(t *testing.T, args ...string) map[string]*pkg {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tags := regexp.MustCompile(`(?m)^TAGS *:= *(\S+)$`).FindSubmatch(makefile)
	if tags == nil {
		t.Fatal("the Makefile has no line TAGS := …")
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json", "-tags", string(tags[1])}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	all := map[string]*pkg{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = &p
	}
}

// within reports whether an import path matches a pattern: a path below our module or of another one, with "/..." for
// everything below it too, or "..." for everything of ours.
func within(importPath, pattern string) bool {
	own, ours := strings.CutPrefix(importPath, module)
	if pattern == "..." {
		return ours
	}
	if ours {
		importPath = own
	}
	base, below := strings.CutSuffix(pattern, "/...")
	return importPath == base || below && strings.HasPrefix(importPath, base+"/")
}

func withinAny(importPath string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return within(importPath, pattern) })
}

// TestFloors holds who may import whom.
func TestFloors(t *testing.T) {
	ours := list(t, "./...")
	for _, rule := range forbidden {
		for _, pattern := range slices.Concat(rule.from, rule.except) {
			if pattern != "..." && !slices.ContainsFunc(slices.Collect(maps.Keys(ours)), func(p string) bool { return within(p, pattern) }) {
				t.Errorf("a rule is about %s, which is not there", pattern)
			}
		}
		for _, p := range ours {
			if !withinAny(p.ImportPath, rule.from) || withinAny(p.ImportPath, rule.except) {
				continue
			}
			for _, imported := range p.Imports {
				if withinAny(imported, rule.to) && !withinAny(imported, rule.but) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, rule.reason)
				}
			}
		}
	}
	for _, p := range ours {
		if kit(p.ImportPath) {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "testing" || strings.HasPrefix(imported, module) && kit(imported) {
				t.Errorf("%s imports %s: what is for tests is not linked into programs", p.ImportPath, imported)
			}
		}
	}
}

// TestStandardLibraryOnly follows the imports of what must stay small all the way down.
func TestStandardLibraryOnly(t *testing.T) {
	all := list(t, "-deps", "./...")
	check := func(name string, may []string) {
		p := all[module+name]
		if p == nil {
			t.Errorf("%s is not there", name)
			return
		}
		for _, dep := range p.Deps {
			if !all[dep].Standard && !withinAny(dep, may) {
				t.Errorf("%s links %s, which is not of the standard library", name, dep)
			}
		}
	}
	names := slices.Sorted(maps.Keys(standardOnly))
	for _, name := range names {
		check(name, names)
	}
	check("baseimage/hubinit", hubinitMayImport)
	for _, dep := range all[module+"confighub"].Deps {
		if within(dep, "github.com/spf13/cobra/...") {
			t.Errorf("confighub links %s, which only the command line of the template library needs", dep)
		}
	}
	for _, dep := range all[module+"baseimage/hubinit"].Deps {
		if reason, bad := hubinitMustNot[dep]; bad {
			t.Errorf("hubinit links %s: %s", dep, reason)
		}
	}
}

// TestModules holds the list of modules, both ways: each that is required has a reason, each with a reason is required and used.
func TestModules(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		required[r.Path] = true
		if modules[r.Path] == "" {
			t.Errorf("go.mod requires %s, which has no reason here", r.Path)
		}
	}
	if len(mod.Replace) > 0 {
		t.Errorf("go.mod replaces modules: %v", mod.Replace)
	}
	used := map[string]bool{}
	for _, p := range list(t, "./...") {
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			used[owner(imported)] = true
		}
	}
	for m := range modules {
		switch {
		case !required[m]:
			t.Errorf("%s has a reason here, but go.mod does not require it", m)
		case !used[m]:
			t.Errorf("%s is required, but nothing imports it", m)
		}
	}
}

// owner is the module of modules that a package belongs to: the longest that is a prefix.
func owner(importPath string) string {
	longest := ""
	for m := range modules {
		if within(importPath, m+"/...") && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}

// TestHouse holds what every package and file has.
func TestHouse(t *testing.T) {
	const mainLines = 80 // a main only chooses what to do
	meaningless := regexp.MustCompile(`^(util|utils|common|helper|helpers|types|misc|base|shared|manager|lib)$`)
	licence := []byte("// SPDX-License-Identifier: AGPL-3.0-or-later\n\n")
	for _, p := range list(t, "./...") {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if meaningless.MatchString(p.Name) || meaningless.MatchString(path.Base(p.ImportPath)) {
			t.Errorf("%s: a package is named for what it owns", p.ImportPath)
		}
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			file := filepath.Join(p.Dir, name)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(data, licence) {
				t.Errorf("%s does not begin with the licence line and an empty one", file)
			}
			if lines := bytes.Count(data, []byte("\n")); p.Name == "main" && name == "main.go" && lines > mainLines {
				t.Errorf("%s has %d lines, more than %d", file, lines, mainLines)
			}
		}
	}
}
