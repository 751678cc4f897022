// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	jsonata "github.com/blues/jsonata-go"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"cloud4.internal/hub/internal/health"
)

// section is what docs/dashboards.md has under a heading of the second level.
func section(t *testing.T, heading string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "dashboards.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("dashboards.md has no section %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// rows are the cells of a section's tables without their heads, code without its quotes.
func rows(text string) (out [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		line = strings.ReplaceAll(line, `\|`, "\x00")
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.Trim(strings.TrimSpace(cell), "`"), "\x00", "|"))
		}
		out = append(out, cells)
	}
	return out
}

// block decodes the first block of YAML of a section. A value of a tag that the reader has of its own is its text.
func block(t *testing.T, text string, into any) {
	t.Helper()
	_, text, _ = strings.Cut(text, "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("no block of YAML")
	}
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// fleetDocument is what the village's fleet answers to a widget, which must be 200.
func fleetDocument(t *testing.T, url string) (raw []byte, value any) {
	t.Helper()
	path := regexp.MustCompile(`^https?://[^/]+`).ReplaceAllString(url, "")
	w := httptest.NewRecorder()
	fleet := village()
	New(func() Snapshot { return Snapshot{Node: fleet, Generation: 1, At: time.Now()} }).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", url, w.Code, w.Header().Get("Content-Type"))
	}
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	return w.Body.Bytes(), value
}

// Homepage's rule: a field is a key, or an object whose only key leads on; a remap is by equality, the first that fits.
func TestHomepage(t *testing.T) {
	type mapping struct {
		Field any
		Label string
		Remap []struct{ Value, To any }
	}
	var services []map[string][]map[string]struct {
		Widget struct {
			Type, URL, Display string
			Headers            map[string]string
			Mappings           yaml.Node
		}
	}
	block(t, section(t, "Homepage"), &services)
	value := func(field, data any) any {
		for {
			key, more := field, any(nil)
			if object, ok := field.(map[string]any); ok {
				for k, v := range object {
					key, more = k, v
				}
			} else if object, ok := field.(map[any]any); ok {
				for k, v := range object {
					key, more = k, v
				}
			}
			switch at := data.(type) {
			case map[string]any:
				data = at[fmt.Sprint(key)]
			case []any:
				data = at[key.(int)]
			}
			if more == nil {
				return data
			}
			field = more
		}
	}
	got := map[string]any{}
	for _, service := range services[0]["Home"] {
		for name, s := range service {
			if s.Widget.Type != "customapi" || !strings.HasPrefix(s.Widget.Headers["Authorization"], "Bearer ") {
				t.Errorf("%s: %+v", name, s.Widget)
			}
			_, data := fleetDocument(t, s.Widget.URL)
			if s.Widget.Display == "dynamic-list" {
				var list struct{ Items, Name, Label string }
				if err := s.Widget.Mappings.Decode(&list); err != nil {
					t.Fatal(err)
				}
				for _, item := range value(list.Items, data).([]any) {
					got[fmt.Sprint(value(list.Name, item))] = value(list.Label, item)
				}
				continue
			}
			var mappings []mapping
			if err := s.Widget.Mappings.Decode(&mappings); err != nil {
				t.Fatal(err)
			}
			if len(mappings) > 4 {
				t.Errorf("Homepage shows four fields, %s has %d", name, len(mappings))
			}
			for _, m := range mappings {
				v := value(m.Field, data)
				for _, r := range m.Remap {
					if r.Value == v {
						v = r.To
						break
					}
				}
				got[m.Label] = v
			}
		}
	}
	if diff := cmp.Diff(map[string]any{
		"State": "broken", "Score": 8.0, "Failing": 1.0, "First": "vm1/web.shop.vm1/page",
		"web.shop.vm1": "fail", "api.shop.vm1/2": "pass", "backup.ops.vm1": "pass", "db.shop.vm2": "unknown",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// evaluate runs an expression of JSONata, with the engine that the one in the backend of Grafana Infinity is a fork of.
func evaluate(t *testing.T, expr string, data any) any {
	t.Helper()
	e, err := jsonata.Compile(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	v, err := e.Eval(data)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return v
}

// Uptime Kuma's rule: the expression gives one scalar, which is compared as text, or as a number where the order counts.
func TestUptimeKuma(t *testing.T) {
	got := map[string]string{}
	for _, row := range rows(section(t, "Uptime Kuma")) {
		_, data := fleetDocument(t, row[0])
		value := evaluate(t, row[1], data)
		switch value.(type) {
		case string, float64, int, bool:
		default:
			t.Errorf("%s is %T %v, and no scalar", row[1], value, value)
		}
		operator, want, _ := strings.Cut(row[2], " ")
		rule := map[string]string{"==": "value = expected", "!=": "value != expected"}[operator]
		if rule == "" {
			rule = "$number(value) " + operator + " $number(expected)"
		}
		up := evaluate(t, rule, map[string]any{"value": fmt.Sprint(value), "expected": want})
		got[row[0]+" "+row[1]] = fmt.Sprint(up)
	}
	if diff := cmp.Diff(map[string]string{
		"/v1/summary up": "false", "/v1/summary status": "false",
		`/v1/summary $count(containers[status="fail" and critical])`: "false",
		"/v1/summary summary.missing":                                "true",
		"/v1/summary $millis() / 1000 - time_unix":                   "true",
		"/v1/summary score":                                          "false",
		`/v1/summary containers[name="web.shop.vm1"].status`:         "false",
		"/v1/summary/web.shop.vm1 ok":                                "false",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Infinity's rule: what the selector gives is an array of objects, or one, whose keys are the columns.
func TestInfinity(t *testing.T) {
	jq := program(t, "jq")
	counts := map[string]int{}
	for _, row := range rows(section(t, "Grafana")) {
		raw, data := fleetDocument(t, row[0])
		counts[row[1]] = flat(t, row[1], evaluate(t, row[1], data), row[3])
		cmd := exec.CommandContext(t.Context(), jq, "--slurp", ".[0] | ["+row[2]+"]")
		cmd.Stdin = bytes.NewReader(raw)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("jq %s: %v: %s", row[2], err, out)
		}
		var list []any
		if err := json.Unmarshal(out, &list); err != nil {
			t.Fatal(err)
		}
		if n := flat(t, row[2], list, row[3]); n != counts[row[1]] {
			t.Errorf("%s gives %d rows, %s %d", row[1], counts[row[1]], row[2], n)
		}
	}
	if counts["reasons"] == 0 {
		t.Error("no reasons")
	}
	delete(counts, "reasons") // how many is rollup's to say
	if diff := cmp.Diff(map[string]int{
		"containers": 4, "hosts": 2, `containers[status!="pass"]`: 2, "summary": 1, "values": 1,
	}, counts); diff != "" {
		t.Error(diff)
	}
}

// flat counts objects, each of which must have the columns, all of them scalars.
func flat(t *testing.T, expr string, value any, columns string) int {
	t.Helper()
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			t.Fatalf("%s gives %T", expr, item)
		}
		for _, column := range strings.Fields(columns) {
			switch v := object[column].(type) {
			case string, float64, bool:
			default:
				t.Errorf("%s: column %s is %T %v", expr, column, v, v)
			}
		}
	}
	return len(list)
}

// Home Assistant's rule: templates are Jinja2 with value_json; attributes are keys of the one object at the path.
func TestHomeAssistant(t *testing.T) {
	type entity struct {
		Name  string
		Value string   `yaml:"value_template"`
		Path  string   `yaml:"json_attributes_path"`
		Keys  []string `yaml:"json_attributes"`
	}
	var config struct {
		Rest []struct {
			Resource string
			Headers  map[string]string
			Sensor   []entity
			Binary   []entity `yaml:"binary_sensor"`
		}
	}
	block(t, section(t, "Home Assistant"), &config)
	var names []string
	var renderings []rendering
	for _, rest := range config.Rest {
		raw, data := fleetDocument(t, rest.Resource)
		for _, e := range slices.Concat(rest.Sensor, rest.Binary) {
			names, renderings = append(names, e.Name), append(renderings, rendering{e.Value, raw})
			at := data
			for _, key := range strings.Split(strings.TrimPrefix(e.Path, "$."), ".") {
				if key != "" {
					at = at.(map[string]any)[key]
				}
			}
			for _, key := range e.Keys {
				if _, ok := at.(map[string]any)[key]; !ok {
					t.Errorf("%s: no attribute %s in %v", e.Name, key, at)
				}
			}
		}
	}
	got := map[string]string{}
	for i, state := range jinja(t, renderings) {
		got[names[i]] = state
		if len(state) > 255 {
			t.Errorf("%s: %d characters", names[i], len(state))
		}
	}
	got["Fleet trouble"], _, _ = strings.Cut(got["Fleet trouble"], ", ") // what comes second is rollup's to say
	if diff := cmp.Diff(map[string]string{
		"Fleet": "fail", "Fleet score": "8", "Fleet failing": "1", "Fleet problem": "True", "Web shop": "fail",
		"Fleet trouble": "vm1/web.shop.vm1/page",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// rendering is a template and what it reads as value_json.
type rendering struct {
	Template string          `json:"template"`
	Document json.RawMessage `json:"document"`
}

// jinja renders templates with the engine of Home Assistant, of any python3 here that has it.
func jinja(t *testing.T, renderings []rendering) (out []string) {
	t.Helper()
	const script = `import jinja2, json, sys
env = jinja2.Environment(undefined=jinja2.StrictUndefined)
print(json.dumps([env.from_string(r["template"]).render(value_json=r["document"]) for r in json.load(sys.stdin)]))`
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import jinja2").Run() != nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), python, "-c", script)
		cmd.Stdin = bytes.NewReader(encode(renderings))
		rendered, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, rendered)
		}
		if err := json.Unmarshal(rendered, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no python3 has jinja2: see .ci/needs")
	}
	t.Skip("left out: no python3 has jinja2")
	return nil
}

// The commands of the page that read with jq, from a file in place of curl.
func TestScripts(t *testing.T) {
	program(t, "jq")
	var got []string
	for line := range strings.Lines(section(t, "Scripts, load balancers, Consul")) {
		path, command, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ curl -s http://127.0.0.1:8480"), " | ")
		if !ok || !strings.HasPrefix(command, "jq") {
			continue
		}
		raw, _ := fleetDocument(t, path)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Stdin = bytes.NewReader(raw)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		got = append(got, string(out))
	}
	if diff := cmp.Diff([]string{
		"web.shop.vm1 fail since 2026-03-01T11:00:00Z: page: fail: 500 after 12 ms\ndb.shop.vm2 unknown since 2026-03-01T11:00:00Z: \n",
		"trouble\n", "fail 1\npass 2\nunknown 1\nwarn 2\n",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Every metric that the page lists is there, and every one that is there is listed.
func TestMetricsAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, row := range rows(section(t, "Prometheus")) {
		for _, name := range regexp.MustCompile(`hub_health[a-z_]*`).FindAllString(row[0], -1) {
			listed[name] = true
		}
	}
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(string(metricsDocument(Snapshot{Node: &health.Node{}}, true)), -1) {
		if !listed[name[1]] {
			t.Errorf("%s is not listed", name[1])
		}
		delete(listed, name[1])
	}
	if len(listed) > 0 {
		t.Errorf("listed, and not there: %v", listed)
	}
}
