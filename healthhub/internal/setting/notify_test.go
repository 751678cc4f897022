// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
)

func TestNotifySettings(t *testing.T) {
	s, err := load(t, `{"health": {"notify": {"phone": {"preset": "ntfy", "url": "https://ntfy.sh/x", "min": "fail"}}, "deadman": {"url": "https://hc-ping.com/x"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	phone := s.Notify["phone"]
	if phone.Every != time.Minute || phone.Remind != 0 || phone.Least() != health.Fail || phone.Form().Body != nil {
		t.Errorf("%+v", phone)
	}
	if !s.Deadman.Given() || s.Deadman.Every != time.Minute {
		t.Errorf("%+v", s.Deadman)
	}
	for text, want := range map[string]string{
		`"notify": {"phone": {}}`:                                                                 "health.notify.phone.url: is missing",
		`"notify": {"phone": {"url": "https://a", "remind": "5s"}}`:                               "health.notify.phone.remind: must be 0s",
		`"notify": {"phone": {"url": "https://a", "secret_file": "token"}}`:                       "health.notify.phone.secret_file: must be absolute",
		`"notify": {"phone": {"url": "https://a", "ca": "none"}}`:                                 "health.notify.phone.ca: must be system",
		`"notify": {"phone": {"url": "https://a", "body": {"x": "{{.Nothing}}"}}}`:                "health.notify.phone.body: x: ",
		`"notify": {"Phone": {"url": "https://a"}}`:                                               "health.notify.Phone: ",
		`"notify": {"` + strings.Repeat("p", longestReceiver+1) + `": {"url": "https://a"}}`:      "must have at most",
		`"deadman": {"url": "hc-ping.com/x"}`:                                                     "health.deadman.url: must be https://",
		`"notify": {"phone": {"url": "https://a", "headers": {"X-A": "{{if}}"}}}`:                 "health.notify.phone.headers.X-A: ",
		`"notify": {"phone": {"preset": "matrix", "url": "https://a", "url_file": "/run/url"}}`:   "health.notify.phone.url_file: stands beside url",
		`"notify": {"phone": {"preset": "slack", "url_file": "/run/url", "body": {"text": 7.5}}}`: "",
	} {
		_, err := load(t, `{"health": {`+text+`}}`)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
