// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
)

// Whatever a container sends: what comes of it is a tree within the limits, which can be told on, and in which the
// other container is as it was.
func FuzzTake(f *testing.F) {
	for _, r := range []*report.Report{says(web, one, 1, health.Fail), ended(2, health.Pass, 1e9)} {
		raw, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("", raw)
	}
	f.Add("", []byte(`{"schema":1,"instance":"abcdefgh","seq":1,"valid_for":9,"node":{"kind":"container","name":"web.shop.vm1","state":"pass","flags":["muted","stale","forked","unexpected"],"children":[{"kind":"check","name":"hub/forked","state":"starting","flags":["info","paused"]}]}}`))
	f.Add("", []byte(`{"schema":1,"instance":"abcdefgh","seq":1,"valid_for":9,"sent_at":"0001-01-02T00:00:00Z","node":{"kind":"container","name":"web.shop.vm1","state":"pass","since":"9999-12-31T00:00:00Z"}}`))
	f.Add("gzip", []byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		r, err := report.Decode(bytes.NewReader(body), encoding, maxContainerBytes, health.ContainerLimits)
		if err != nil {
			return
		}
		c, err := New(Config{Self: vm1, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		take(t, c, db, says(db, one, 1, health.Pass))
		c.Take(web, r)
		c.sum()
		root := c.Node()
		chain, err := root.Find("db.shop.vm1/page")
		if err != nil || chain[2].State != health.Pass {
			t.Errorf("the other container: %v, %v", chain, err)
		}
		limits := health.HostLimits
		if err := root.Accept(limits); err != nil {
			t.Errorf("the fleet would refuse this host: %v", err)
		}
		if _, err := json.Marshal(root); err != nil {
			t.Error(err)
		}
	})
}
