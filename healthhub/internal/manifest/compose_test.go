// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes files in a directory called shop and gives their paths by name.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "Shop_")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func environ(pairs ...string) environment {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func container(change func(c *Container)) Container {
	c := Expect()
	change(&c)
	return c
}

func TestCompose(t *testing.T) {
	for name, test := range map[string]struct {
		files   map[string]string
		project Project // Files by name
		environ []string
		want    map[string]Container
		notes   string // part of them
	}{
		"the names in the file": {
			files:   map[string]string{"compose.yaml": "name: shop\nservices: {web: {image: x}, db: {}}"},
			project: Project{Host: "vm1"},
			want:    map[string]Container{"web.shop.vm1": Expect(), "db.shop.vm1": Expect()},
			notes:   "web: expected as web.shop.vm1, by the names in the compose file",
		},
		"the names of identities, over anchors": {
			files: map[string]string{"compose.yaml": `
x-hub: &hub {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_SERVICE: never}
x-service: &service
  <<: *hub
  HUB_IDENTITY_STACK: ${STACK:-shop}
services:
  a: {environment: {<<: *service, HUB_IDENTITY_SERVICE: web}}
  b: {environment: ["HUB_IDENTITY_HOST=vm1", "HUB_IDENTITY_STACK", "HUB_IDENTITY_SERVICE=db"]}
  host: {environment: {HUB_IDENTITY_HOST: vm1, SECRET: "${NOT_NEEDED:?here}"}}
  ca: {environment: {HUB_HUBS: none}}
  log: {environment: {HUB_IDENTITY_GENESIS: log}}`},
			environ: []string{"HUB_IDENTITY_STACK", "blog"},
			want:    map[string]Container{"web.shop.vm1": Expect(), "db.blog.vm1": Expect()},
			notes:   "host: left out: with HUB_IDENTITY_HOST alone it is the host itself",
		},
		"the directory's name": {
			files:   map[string]string{"compose.yaml": "services: {web: {environment: {HUB_IDENTITY_STACK: ''}}}"},
			project: Project{Host: "vm1", Name: "flag"},
			want:    map[string]Container{"web.flag.vm1": Expect()},
		},
		"replicas": {
			files: map[string]string{
				"compose.yaml": "name: s\nservices: {a: {deploy: {replicas: 3}}, b: {scale: $N}, c: {deploy: {replicas: \"${M:-4}\"}, labels: {hub.need: 2}}, d: {scale: 0}}",
				".env":         "# how many\nexport N=\"${TEN}\" # of b\nTEN=9\nN=2",
			},
			project: Project{Host: "vm1"},
			want: map[string]Container{
				"a.s.vm1": container(func(c *Container) { c.Replicas = 3 }), "b.s.vm1": container(func(c *Container) { c.Replicas = 2 }),
				"c.s.vm1": container(func(c *Container) { c.Replicas, c.Need = 4, 2 }),
			},
			notes: "d: left out: none of it is to run",
		},
		"profiles": {
			files: map[string]string{"compose.yaml": "name: s\nservices: {a: {profiles: [debug]}, b: {profiles: [night, day]}, c: {profiles: [other]}, d: {}}"},
			project: Project{
				Host: "vm1", Profiles: []string{"debug"},
			},
			environ: []string{"COMPOSE_PROFILES", "x,day"},
			want:    map[string]Container{"a.s.vm1": Expect(), "b.s.vm1": Expect(), "d.s.vm1": Expect()},
			notes:   "c: left out: none of its profiles is active; --profile other",
		},
		"labels": {
			files: map[string]string{"compose.yaml": `
name: s
services:
  a: {labels: {hub.criticality: degrading, hub.group: front, other: 1}}
  b: {labels: ["hub.criticality=info"]}
  backup: {restart: "no", labels: {hub.job: 24h}}
  postgres: {labels: {hub.expect: "false"}}`},
			project: Project{Host: "vm1"},
			want: map[string]Container{
				"a.s.vm1":      container(func(c *Container) { c.Criticality, c.Group = "degrading", "front" }),
				"b.s.vm1":      container(func(c *Container) { c.Criticality = "info" }),
				"backup.s.vm1": container(func(c *Container) { c.Job = 24 * time.Hour }),
			},
		},
		"several files": {
			files: map[string]string{
				"compose.yaml": "name: s\nservices: {a: {scale: 2, profiles: [x], labels: {hub.criticality: info, hub.group: g}}, b: {scale: 2, labels: [hub.group=g]}}",
				"prod.yaml":    "name: prod\nservices: {a: {scale: 5, profiles: !reset [], labels: [hub.criticality=degrading]}, b: {scale: !reset null, labels: !override {hub.criticality: info}}, c: {}}",
			},
			project: Project{Host: "vm1", Files: []string{"compose.yaml", "prod.yaml"}},
			want: map[string]Container{
				"a.prod.vm1": container(func(c *Container) { c.Replicas, c.Criticality, c.Group = 5, "degrading", "g" }),
				"b.prod.vm1": container(func(c *Container) { c.Criticality = "info" }),
				"c.prod.vm1": Expect(),
			},
		},
		"extends and env_file": {
			files: map[string]string{
				"compose.yaml":  "name: s\nservices: {a: {extends: {file: lib/base.yaml, service: base}}, b: {extends: a, scale: 3}, c: {env_file: [{path: no.env, required: false}, c.env]}}",
				"lib/base.yaml": "services: {base: {env_file: base.env, scale: 2, profiles: [never]}}",
				"lib/base.env":  "HUB_IDENTITY_STACK='base'",
				"c.env":         "HUB_IDENTITY_SERVICE=\"c-$X\"",
			},
			environ: []string{"X", "1"},
			project: Project{Host: "vm1"},
			want: map[string]Container{
				"a.base.vm1": container(func(c *Container) { c.Replicas = 2 }), "b.base.vm1": container(func(c *Container) { c.Replicas = 3 }), "c-1.s.vm1": Expect(),
			},
		},
		"of another host": {
			files:   map[string]string{"compose.yaml": "name: s\nservices: {a: {environment: {HUB_IDENTITY_HOST: vm2}}, b: {environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}}"},
			project: Project{Host: "vm1"},
			want:    map[string]Container{"b.s.vm1": Expect()},
			notes:   "a: left out: with HUB_IDENTITY_HOST alone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := compose(t, test.files, test.project, test.environ)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Containers); diff != "" {
				t.Error(diff)
			}
			if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, test.notes) {
				t.Errorf("notes:\n%s", notes)
			}
		})
	}
}

func compose(t *testing.T, files map[string]string, p Project, vars []string) (*Expectation, error) {
	t.Helper()
	dir := write(t, files)
	if p.Files == nil {
		p.Files = []string{"compose.yaml"}
	}
	for i, file := range p.Files {
		p.Files[i] = filepath.Join(dir, file)
	}
	p.Environ = environ(vars...)
	return Compose(p)
}

func TestComposeIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"services: {web: {}}":                    "compose.yaml:1: services.web: on which host?",
		"a: 1":                                   "has no services",
		"[a]":                                    "must be a mapping",
		"services:\n\tweb":                       "compose.yaml: line 2",
		"include: [x.yaml]\nservices: {web: {}}": "compose.yaml:1: include is not followed",
		"services:\n  a:\n    scale: 1001\n    environment: [HUB_IDENTITY_HOST=vm1, HUB_IDENTITY_STACK=s]": "compose.yaml:3: services.a: replicas: must be between 0 and 1000",
		"services:\n  a:\n    environment:\n      HUB_IDENTITY_HOST: ${HOST:?which}":                       "compose.yaml:4: services.a: variable HOST is not set: which",
		"services:\n  web_1: {environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":               "compose.yaml:2: services.web_1: as service:",
		"services:\n  a: &x {extends: a}":      "extends more than 16 others, or itself",
		"services:\n  a: {extends: b}":         `there is no service "b"`,
		"services:\n  a: {env_file: gone.env}": "compose.yaml:2: services.a: env_file: reading",
		"services:\n  a: {labels: {hub.critical: yes}, environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":                                     "label hub.critical is not known",
		"services:\n  a: {labels: {hub.criticality: high}, environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":                                 "must be critical, degrading or info",
		"services:\n  a: {labels: {hub.need: 2}, environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":                                           "need: must be at most the number of replicas, which is 0",
		"services:\n  a: {labels: {hub.job: 24h}, restart: always, environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":                         "a job ends, and restart: always starts it again",
		"services:\n  a: {labels: {hub.job: daily}, environment: {HUB_IDENTITY_HOST: vm1, HUB_IDENTITY_STACK: s}}":                                        "must be how often it runs",
		"services:\n  a: {environment: [HUB_IDENTITY_HOST=vm1, HUB_IDENTITY_STACK=s]}\n  b: {environment: [HUB_IDENTITY_HOST=vm2, HUB_IDENTITY_STACK=s]}": "compose.yaml:3: services.b: runs on vm2, others on vm1",
	} {
		_, err := compose(t, map[string]string{"compose.yaml": text}, Project{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// Aliases in aliases must not take longer than the file is.
func TestComposeOfManyAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: s\nx0: &x0 {a: 1}\n")
	for i := 1; i < 64; i++ {
		prev := "*x" + string(rune('0'+(i-1)/10)) + string(rune('0'+(i-1)%10))
		if i == 1 {
			prev = "*x0"
		}
		b.WriteString("x" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ": &x" + string(rune('0'+i/10)) + string(rune('0'+i%10)) +
			" {<<: [" + strings.Repeat(prev+", ", 20) + prev + "]}\n")
	}
	b.WriteString("services: {web: {labels: *x63}}")
	got, err := compose(t, map[string]string{"compose.yaml": b.String()}, Project{Host: "vm1"}, nil)
	if err != nil || len(got.Containers) != 1 {
		t.Error(got, err)
	}
}

func TestInterpolate(t *testing.T) {
	env := environ("A", "a", "EMPTY", "", "A_1", "b")
	for text, want := range map[string]string{
		"": "", "$A": "a", "${A}": "a", "x${A}y": "xay", "$A_1": "b", "$$A": "$A", "$": "$", "a$": "a$", "$1": "$1", "$NO": "",
		"${NO-d}": "d", "${EMPTY-d}": "", "${EMPTY:-d}": "d", "${A:-d}": "a", "${NO:-${A}}": "a", "${NO:-$A-${A_1}}x": "a-bx",
		"${A:+r}": "r", "${NO:+r}": "", "${EMPTY+r}": "r", "${EMPTY:+r}": "", "${A:?e}": "a", "${NO:-{}}": "{}", "${NO:-}": "",
	} {
		if got, err := env.interpolate(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${", "${A", "${}", "${1}", "${A!x}", "${NO?}", "${EMPTY:?no}", "${A:}", "${NO:-${A}"} {
		if got, err := env.interpolate(text); err == nil {
			t.Errorf("%q was taken for %q", text, got)
		}
	}
}

func FuzzInterpolate(f *testing.F) {
	f.Add("a${X:-${Y}}$$b")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := environ("X", "x").interpolate(text); err != nil {
			return
		}
	})
}

func TestDotenv(t *testing.T) {
	got, err := dotenv("x.env", []byte("\ufeffA=1\n # no\nexport B = two words # three\nC='$A \\n'\nD=\"$A \\\"q\\\" \\$A\\n\"\nNAME\nE=\nF=a#b"), environ("A", "outer"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "1", "B": "two words", "C": "$A \\n", "D": "outer \"q\" $A\n", "E": "", "F": "a#b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"a b=1", "=1", "A='x", `A="x\"`} {
		if _, err := dotenv("x.env", []byte("B=1\n"+text), environ()); err == nil || !strings.HasPrefix(err.Error(), "x.env:2: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
