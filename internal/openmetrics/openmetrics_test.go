// SPDX-License-Identifier: AGPL-3.0-or-later

package openmetrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	var d Document
	d.Family("x_build", Info, "Which build this is.")
	d.Sample(1, "version", "v1", "odd", "a\"b\\c\nd\xff")
	d.Family("x_requests", Counter, "Requests.")
	d.Sample(12, "status", "200")
	d.Sample(1<<53, "status", "404")
	d.Family("x_seconds", Gauge, "A time.")
	d.Sample(0.25)
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
# EOF
`
	if diff := cmp.Diff(want, string(d.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
