// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

// Notify is a receiver of notifications.
type Notify struct {
	Preset     string            `json:"preset" enum:"ntfy|gotify|slack|discord|matrix" doc:"serve: what the receiver is, for headers and body; empty: they are given here, or the text is sent as it is"`
	URL        string            `json:"url" doc:"serve: where messages go, https://… or http://…; a template, in which {{.ID}} is another one for each message"`
	URLFile    string            `json:"url_file" doc:"serve: a file with the url, where that is a secret itself"`
	SecretFile string            `json:"secret_file" doc:"serve: a file with the token that presets send, and that templates know as {{.Secret}}"`
	Method     string            `json:"method" enum:"POST|PUT|GET" doc:"serve: default POST, or the preset's"`
	Headers    map[string]string `json:"headers" max:"32" doc:"serve: templates of headers, by name, over those of the preset; what comes out empty is not sent"`
	Body       json.RawMessage   `json:"body" doc:"serve: a text, which is a template, or an object or list whose texts are templates and cannot break it; a text that begins with = becomes the JSON that it prints"`
	CA         string            `json:"ca" doc:"serve: whose roots to trust: system (default), fleet, or a PEM file"`

	Min    string        `json:"min" default:"warn" enum:"warn|fail" doc:"serve: what is told: warn: everything; fail: what makes this host or the fleet fail, or not be known"`
	Every  time.Duration `json:"every" default:"1m" min:"1s" max:"24h" doc:"serve: between two messages at least; what comes meanwhile is told together"`
	Remind time.Duration `json:"remind" default:"0s" min:"0s" max:"720h" doc:"serve: how long after it was told what is still wrong is told again, at least 1m; 0s: never"`
}

// Deadman is whom to tell that serve is alive.
type Deadman struct {
	URL   string        `json:"url" doc:"serve: what is asked for (GET) while health is being summed up and told here, such as https://hc-ping.com/<uuid>; it stops when that does; mostly a secret: HUB_HEALTH_DEADMAN_URL_FILE names a file with it; empty: nothing"`
	CA    string        `json:"ca" doc:"serve: whose roots to trust: system (default), fleet, or a PEM file"`
	Every time.Duration `json:"every" default:"1m" min:"15s" max:"24h" doc:"serve: from one time to the next"`
}

// Form is the shape of this receiver's requests.
func (n *Notify) Form() webhook.Form {
	return webhook.Form{
		Preset: n.Preset, Method: n.Method, URL: n.URL, URLFile: n.URLFile, SecretFile: n.SecretFile, Headers: n.Headers, Body: n.Body, CA: n.CA,
	}
}

// Least is the smallest state that is told.
func (n *Notify) Least() health.State {
	if n.Min == "fail" {
		return health.Fail
	}
	return health.Warn
}

// CheckSettings reports templates that cannot be, and files that are nowhere.
func (n *Notify) CheckSettings(report func(key, message string)) {
	checkForm(n.Form(), report)
	if n.Remind > 0 && n.Remind < time.Minute {
		report("remind", fmt.Sprintf("must be 0s (never) or at least 1m, got %s", n.Remind))
	}
}

// Given reports whether there is anybody to be told.
func (d *Deadman) Given() bool { return d.URL != "" }

// Form is the shape of a ping.
func (d *Deadman) Form() webhook.Form {
	return webhook.Form{Method: "GET", URL: d.URL, CA: d.CA, Body: json.RawMessage(`""`)}
}

// CheckSettings reports a URL that is none.
func (d *Deadman) CheckSettings(report func(key, message string)) {
	if d.Given() {
		checkForm(d.Form(), report)
	}
}

func checkForm(f webhook.Form, report func(key, message string)) {
	if key, err := webhook.Check(f); err != nil {
		report(key, err.Error())
	}
	for key, path := range map[string]string{"url_file": f.URLFile, "secret_file": f.SecretFile} {
		if path != "" && !filepath.IsAbs(path) {
			report(key, fmt.Sprintf("must be absolute, got %q", path))
		}
	}
	if f.CA != "" && f.CA != CASystem && f.CA != CAFleet && !filepath.IsAbs(f.CA) {
		report("ca", fmt.Sprintf("must be system, fleet or an absolute path, got %q", f.CA))
	}
}

// longestReceiver leaves room for the prefix notify/ in a check's name.
const longestReceiver = health.MaxCheckName - len("notify/")

func (s *Settings) checkNotify(report func(key, message string)) {
	for name := range s.Notify {
		key := hubfile.Join("notify", name)
		if err := health.CheckName(health.KindCheck, name); err != nil {
			report(key, err.Error())
		} else if len(name) > longestReceiver {
			report(key, fmt.Sprintf("must have at most %d characters", longestReceiver))
		}
	}
}
