// SPDX-License-Identifier: AGPL-3.0-or-later

package report

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloud4.internal/hub/internal/health"
)

func TestValid(t *testing.T) {
	for seconds, want := range map[float64]time.Duration{
		90: 90 * time.Second, 1.5: 1500 * time.Millisecond, 0.001: MinValid, 1e300: MaxValid,
	} {
		if got := (&Report{ValidFor: seconds}).Valid(); got != want {
			t.Errorf("%v s: %s, want %s", seconds, got, want)
		}
	}
}

func TestJob(t *testing.T) {
	const node = `"node":{"kind":"container","name":"web.shop.vm1","state":"pass"}`
	head := `{"schema":1,"instance":"abcdefgh","seq":1,"valid_for":90,`
	for body, want := range map[string]time.Duration{
		`"stopping":true,"job":{"exit":0,"due_in":90000},`:    25 * time.Hour,
		`"stopping":true,"job":{"exit":255,"due_in":1e300},`:  MaxDue,
		`"stopping":true,"job":{"exit":3,"due_in":0.000001},`: MinValid,
		`"stopping":true,"job":{"exit":0,"due_in":0},`:        0,
		`"stopping":true,"job":{"exit":256,"due_in":1},`:      0,
		`"stopping":true,"job":{"exit":-1,"due_in":1},`:       0,
		`"job":{"exit":0,"due_in":90000},`:                    0,
	} {
		r, err := decode([]byte(head+body+node+"}"), health.ContainerLimits)
		if (err == nil) != (want > 0) || err == nil && r.Job.Due() != want {
			t.Errorf("%s: %+v, %v, want due in %s", body, r, err, want)
		}
	}
}

// Whatever comes in, what is taken keeps the limits, and survives being passed on.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":1,"instance":"abcdefgh","seq":1,"sent_at":"2026-01-01T00:00:00Z","valid_for":90,"node":{"kind":"container","name":"web.shop.vm1","state":"pass","children":[{"kind":"check","name":"page","state":"fail","text":"no\u001b[2J","flags":["critical"]}]}}`))
	f.Add([]byte(`{"schema":1,"instance":"abcdefgh","seq":18446744073709551615,"valid_for":1e308,"stopping":true,"node":{"kind":"host","name":"vm1","state":"unknown","score":0}}`))
	f.Add([]byte(`{"schema":1,"instance":"abcdefgh","seq":2,"valid_for":9,"stopping":true,"job":{"exit":1,"ended_at":"2026-01-01T00:00:00Z","due_in":1e9},"node":{"kind":"container","name":"c","state":"fail"}}`))
	f.Add([]byte(`{"schema":1,"instance":"ABCDEFGH","seq":1,"valid_for":90,"node":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decode(body, health.ContainerLimits)
		if err != nil {
			return
		}
		if v := r.Valid(); v < MinValid || v > MaxValid {
			t.Errorf("valid for %s", v)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again, health.ContainerLimits)
		if err != nil {
			t.Fatalf("what was taken is refused when it is passed on: %v\n%s", err, again)
		}
		if diff := cmp.Diff(r.Node, back.Node, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}
