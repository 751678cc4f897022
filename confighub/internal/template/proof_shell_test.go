// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// Each place prints what it has, then a zero byte.
var shellPlaces = []place{
	{`printf '%s\0' {{v}}`, same},
	{`printf '%s\0' "{{v}}"`, same},
	{`printf '%s\0' "x{{v}}y"`, beside("x", "y")},
	{`printf '%s\0' '{{v}}'`, same},
	{`printf '%s\0' 'x{{v}}y'`, beside("x", "y")},
	{`printf '%s\0' x{{v}}`, beside("x", "")},
	{`printf '%s\0' {{v}}/x`, beside("", "/x")},
	{`printf '%s\0' {{v}}{{v}}x`, func(v string) any { return v + v + "x" }},
	{`printf '%s\0' "a"{{v}}`, beside("a", "")},
	{`printf '%s\0' "\"{{v}}\$(x)"`, beside(`"`, "$(x)")},
	{`printf '%s\0' '#'"{{v}}"\ \#{{v}}`, func(v string) any { return "#" + v + " #" + v }},
	{"A={{v}}\nprintf '%s\\0' \"$A\"", same},
	{"A={{v}} B=\"{{v}}\"; printf '%s\\0' \"$A$B\"", func(v string) any { return v + v }},
	{"A=x{{v}}; printf '%s\\0' \"$A\"", beside("x", "")},
	{"printf '%s\\0' {{v}}>&1", same},
	{"printf '%s\\0' x{{v}}>&1", beside("x", "")},
	{"f() (\n  printf '%s\\0' {{v}}\n)\nf", same},
	{"case x in x) printf '%s\\0' {{v}};; esac", same},
	{"case {{v}} in \"{{v}}\") printf '%s\\0' {{v}};; esac", same},
	{"if [ {{v}} = \"{{v}}\" ]; then printf '%s\\0' {{v}}; fi", same},
	{"# {{v}}\nprintf '%s\\0' x", func(string) any { return "x" }},
	{"printf '%s\\0' x # {{v}}", func(string) any { return "x" }},
	{"lines <<EOF\n{{v}}\nEOF\nprintf '\\0'", beside("", "\n")},
	{"lines <<'EOF'\nx{{v}}\nEOF\nprintf '\\0'", beside("x", "\n")},
	{"lines <<-\\EOF >&1 # c\n\t{{v}}\n\tEOF\nprintf '\\0'", beside("", "\n")},
	{"lines <<E\n\\\\{{v}}$((1))\nE\nprintf '%s\\0' {{v}}", func(v string) any { return "\\" + v + "1\n" + v }},
	{"lines <<A; lines <<B\n{{v}}A\nA\nB{{v}}\nB\nprintf '\\0'", func(v string) any { return v + "A\nB" + v + "\n" }},
	{"printf '%s\\0' \"$(printf %s {{v}})\"", same},
	{"printf '%s\\0' \"$(printf %s \"(\" {{v}})\"", beside("(", "")},
	{"printf '%s\\0' \"`printf %s {{v}}`\"", same},
	{"printf '%s\\0' \"${A_:-{{v}}}\"", same},
	{"printf '%s\\0' \"$(printf x)\" {{v}} | tr -d '\\0' | tail -c +2; printf '\\0'", same},
	{"printf '%s\\0' \"$((1 + (2)))\"'{{v}}'", beside("3", "")},
	{"printf '%s\\0' \"$(\n  case x in\n  x) printf %s {{v}};; esac\n)\"", same},
	{"printf '%s\\0' ${{v}}", nil},
	{"printf '%s\\0' \"$x{{v}}\"", nil},
	{"printf '%s\\0' \"${x{{v}}}\"", nil},
	{`printf '%s\0' \{{v}}`, nil},
	{"lines <<{{v}}\nplain\nplain\n", nil},
	{"lines <<E\n$(printf {{v}})\nE\n", nil},
	{"lines <<E\n$(\nprintf {{v}})\nE\n", nil},
}

// shells are sh and, where it is there, bash.
func shells() []string {
	if _, err := exec.LookPath("bash"); err != nil {
		return []string{"sh"}
	}
	return []string{"sh", "bash"}
}

// run runs a script and splits what it prints at zero bytes.
func run(t *testing.T, shell string, script []byte) ([]string, error) {
	t.Helper()
	var stderr bytes.Buffer
	for _, args := range [][]string{{"-n", "-s"}, {"-s"}} {
		cmd := exec.CommandContext(t.Context(), shell, args...)
		cmd.Dir, cmd.Stdin, cmd.Stderr = t.TempDir(), bytes.NewReader(script), &stderr
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		out, err := cmd.Output()
		if err != nil {
			t.Logf("%s %s: %s", shell, args[0], &stderr)
			return nil, err
		}
		if len(args) == 1 {
			return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), nil
		}
	}
	return nil, nil
}

// All values of a place run in one script: each is an own rendering.
func TestShell(t *testing.T) {
	tried, carried := 0, 0
	for _, p := range shellPlaces {
		t.Run(p.template, func(t *testing.T) {
			script := *bytes.NewBufferString("lines() { while IFS= read -r l; do printf '%s\\n' \"$l\"; done; }\n")
			var taken, wanted []string
			// A substitution is a process.
			forks := strings.Contains(strings.ReplaceAll(p.template, "$((", ""), "$(") || strings.ContainsAny(p.template, "`|")
			for i, v := range values() {
				if forks && i%4 != 0 {
					continue
				}
				tried++
				out, err := fill(p.template, "shell", map[string]any{"v": v})
				if err != nil {
					continue
				}
				if p.want == nil && v != "" {
					t.Fatalf("took %q: %s", v, out)
				}
				if p.want != nil {
					script.Write(append(out, '\n'))
					taken, wanted = append(taken, v), append(wanted, p.want(v).(string))
				}
			}
			carried += len(taken)
			if p.want == nil {
				return
			}
			for _, shell := range shells() {
				got, err := run(t, shell, script.Bytes())
				if err != nil || len(taken) < 10 {
					t.Fatalf("%d taken: %v", len(taken), err)
				}
				for i, v := range taken {
					if i >= len(got) || got[i] != wanted[i] {
						t.Fatalf("%s: %q: got %q, want %q", shell, v, got[min(i, len(got)-1)], wanted[i])
					}
				}
				if len(got) != len(wanted) {
					t.Fatalf("%s: %d values were printed, %d were put in", shell, len(got), len(wanted))
				}
			}
		})
	}
	t.Logf("shell: %d cases in %d places, %d carried, %d refused", tried, len(shellPlaces), carried, tried-carried)
	typed(t, "shell", "A={{v}}", map[string]string{"1e3": "1e3", "true": "true", "null": "''", "[1]": "error"})
}
