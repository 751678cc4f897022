// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile_test

import (
	"encoding/json"
	"time"

	"cloud4.internal/hub/internal/hubfile"
)

// identity and health stand for the sections of two hubs; between them they have a field of every kind.
type identity struct {
	Host     string `json:"host" doc:"name of this host"`
	Stack    string `json:"stack"`
	Token    string `json:"token" min:"8" max:"16"`
	Lifetime string `json:"lifetime" removed:"the authority decides"`
}

type health struct {
	ReportTo string              `json:"report_to" doc:"where the report goes"`
	Every    time.Duration       `json:"every" default:"10s" min:"1s" max:"1h" doc:"time between two reports"`
	Strict   bool                `json:"strict" default:"true"`
	Retries  int                 `json:"retries" default:"3" min:"0" max:"10"`
	Workers  uint8               `json:"workers" default:"2"`
	Ratio    float64             `json:"ratio" default:"0.5" min:"0" max:"1"`
	Body     hubfile.Bytes       `json:"body" default:"1MiB" max:"64MiB"`
	WaitFor  []string            `json:"wait_for" default:"tcp://a:1 tcp://b:2" max:"3"`
	Level    *string             `json:"level" enum:"info|warn|error"`
	Page     page                `json:"page"`
	Checks   map[string]check    `json:"checks" doc:"the checks, by name"`
	Actions  map[string][]string `json:"actions"`
	Modes    map[string]string   `json:"modes" enum:"on|off"`
	Extra    any                 `json:"extra"`
	Raw      json.RawMessage     `json:"raw"`
	Since    *instant            `json:"since"`
	Ignored  func()              `json:"-"`
	private  int
}

type page struct {
	Title string `json:"title" default:"health"`
	Port  uint16 `json:"port" default:"8480" min:"1"`
}

type check struct {
	Kind     string        `json:"kind" default:"tcp" enum:"tcp|http|exec"`
	URL      string        `json:"url"`
	Interval time.Duration `json:"interval" default:"10s" min:"1s" max:"1h"`
	Timeout  time.Duration `json:"timeout" default:"3s" min:"10ms"`
	Codes    []int         `json:"codes"`
}

// CheckSettings makes check a hubfile.Checker.
func (c *check) CheckSettings(report func(key, message string)) {
	if c.Timeout > c.Interval {
		report("timeout", "must not be longer than the interval "+c.Interval.String())
	}
	if c.Kind == "http" && c.URL == "" {
		report("url", "is needed for kind http")
	}
}

// CheckSettings makes health a hubfile.Checker.
func (h health) CheckSettings(report func(key, message string)) {
	if _, ok := h.Checks["forbidden"]; ok {
		report("checks.forbidden.kind", "has no good value")
	}
	if h.ReportTo == "nowhere" {
		report("", "reports to nowhere")
	}
}

// instant is a type with a text form of its own.
type instant time.Time

// UnmarshalText reads RFC 3339.
func (i *instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	*i = instant(t)
	return err
}

func sections() (*identity, *health, []hubfile.Section) {
	i, h := &identity{}, &health{private: 7}
	return i, h, []hubfile.Section{{Name: "identity", Into: i}, {Name: "health", Into: h}}
}
