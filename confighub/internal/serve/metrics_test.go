// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/openmetrics"
	"cloud4.internal/hub/internal/spiffe"
)

func TestMetrics(t *testing.T) {
	s := newServer(t, shop())
	operator := s.client(s.id(spiffe.ForOperator(td, "desk")))
	want := func(values map[string]float64) {
		t.Helper()
		for name, value := range values {
			if got := operator.metric(name); got != value {
				t.Errorf("%s is %v, want %v", name, got, value)
			}
		}
	}
	want(map[string]float64{
		"confighub_waiters": 0, "confighub_publications_total": 1, "confighub_tree_problems": 0,
		`confighub_containers{state="unseen"}`: 3, `confighub_containers{state="applied"}`: 0,
	})

	// One has a version, one rejects it, and somebody asks for what is not his.
	report := func(c *client, version bundle.Version, state string) {
		t.Helper()
		raw, err := json.Marshal(bundle.Applied{Version: version, State: state})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := c.ask(http.MethodPost, "/v1/applied", nil, string(raw)); err != nil || a.status != http.StatusNoContent {
			t.Fatalf("%v %v", a, err)
		}
	}
	web, db := s.client(s.container("vm1", "shop", "web", "")), s.client(s.container("vm1", "shop", "db", ""))
	before := operator.metric("confighub_sent_bytes_total")
	pointer := web.pointer("web.shop.vm1")
	web.data("web.shop.vm1", pointer)
	report(web, pointer.Version(), bundle.StateApplied)
	report(db, db.pointer("db.shop.vm1").Version(), bundle.StateRejected)
	web.get("/v1/bundles/db.shop.vm1/current")
	s.put("services/web/data/web.json", "{")
	s.log.wait(t, "the tree is broken")
	want(map[string]float64{
		`confighub_containers{state="applied"}`: 1, `confighub_containers{state="rejected"}`: 1, `confighub_containers{state="unseen"}`: 1,
		`confighub_requests_total{verdict="allowed",status="204"}`: 2, `confighub_requests_total{verdict="refused",status="403"}`: 1,
		"confighub_tree_problems": 1, "confighub_publications_total": 1,
	})
	if sent := operator.metric("confighub_sent_bytes_total") - before; sent < float64(pointer.Size) {
		t.Errorf("%v bytes were sent, the bundle alone has %d", sent, pointer.Size)
	}
	end := time.UnixMilli(int64(operator.metric("confighub_certificate_not_after_timestamp_seconds") * 1000))
	if life := time.Until(end); life < 23*time.Hour || life > 25*time.Hour {
		t.Errorf("the first certificate ends in %v", life)
	}

	a := operator.get("/metrics")
	if got := a.header.Get("Content-Type"); got != openmetrics.ContentType {
		t.Errorf("Content-Type: %s", got)
	}
	for _, state := range serve.Statuses() {
		if !strings.Contains(a.body, `confighub_containers{state="`+state+`"} `) {
			t.Errorf("nothing of the state %s", state)
		}
	}
	for _, name := range []string{"confighub_build_info{version=", "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(a.body, "\n"+name) {
			t.Errorf("no %s in\n%s", name, a.body)
		}
	}
}
