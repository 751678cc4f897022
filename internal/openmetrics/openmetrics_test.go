// SPDX-License-Identifier: AGPL-3.0-or-later

package openmetrics

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill adds something of every kind.
func fill(d *Document) {
	d.Family("x_build", Info, "Which build this is.")
	d.Sample(1, "version", "v1", "odd", "a\"b\\c\nd\xff")
	d.Family("x_requests", Counter, "Requests.")
	d.Sample(12, "status", "200")
	d.Sample(1<<53, "status", "404")
	d.Family("x_seconds", Gauge, "A time.")
	d.Sample(0.25)
	d.Family("x_state", StateSet, "A \\ state.")
	d.Sample(1, "x_state", "on")
}

func TestDocument(t *testing.T) {
	var d Document
	fill(&d)
	want := `# TYPE x_build info
# HELP x_build Which build this is.
x_build_info{version="v1",odd="a\"b\\c\nd` + "\uFFFD" + `"} 1
# TYPE x_requests counter
# HELP x_requests Requests.
x_requests_total{status="200"} 12
x_requests_total{status="404"} 9007199254740992
# TYPE x_seconds gauge
# HELP x_seconds A time.
x_seconds 0.25
# TYPE x_state stateset
# HELP x_state A \\ state.
x_state{x_state="on"} 1
# EOF
`
	if diff := cmp.Diff(want, string(d.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The older form has the same samples under other types, as a look at the lines that differ shows.
func TestPlain(t *testing.T) {
	d := Document{Plain: true}
	fill(&d)
	for _, line := range []string{
		"# TYPE x_build_info gauge", `x_build_info{version="v1",odd="a\"b\\c\nd` + "\uFFFD" + `"} 1`, "# TYPE x_requests_total counter",
		"# HELP x_requests_total Requests.", `x_requests_total{status="200"} 12`, "# TYPE x_seconds gauge", "# TYPE x_state gauge", `x_state{x_state="on"} 1`,
	} {
		if !strings.Contains(string(d.Bytes()), line+"\n") {
			t.Errorf("%s is missing in\n%s", line, d.Bytes())
		}
	}
	if strings.Contains(string(d.Bytes()), "EOF") {
		t.Error("the end is marked")
	}
}

func TestAccepted(t *testing.T) {
	for accept, want := range map[string]bool{
		"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": true,
		"*/*": false, "": false, "text/plain": false,
	} {
		if Accepted(accept) != want {
			t.Errorf("%q: %v", accept, !want)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	var d Document
	b.ReportAllocs()
	for b.Loop() {
		d.Sample(12.5, "container", "web.shop.vm1", "check", "page")
		d.text.Reset()
	}
}
