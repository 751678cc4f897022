// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseWait(t *testing.T) {
	for item, want := range map[string]Wait{
		"tcp://db:5432": {KindTCP, "db:5432"}, "tcp://[::1]:80": {KindTCP, "[::1]:80"},
		"http://web/ready": {KindHTTP, "http://web/ready"}, "https://web": {KindHTTP, "https://web"},
		"unix:///run/db.sock": {KindUnix, "/run/db.sock"}, "file:///data/ready": {KindFile, "/data/ready"},
		"dns:db.internal": {WaitDNS, "db.internal"}, "check:page": {WaitCheck, "page"},
	} {
		if got, err := ParseWait(item); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", item, got, err, want)
		}
	}
	for _, item := range []string{
		"", "db:5432", "tcp://db", "tcp://:80", "tcp://db:0", "tcp://db:http", "http://", "unix://run/db", "file:data",
		"dns:", "dns:db:53", "dns://db", "check:", "udp://db:53",
	} {
		if got, err := ParseWait(item); err == nil {
			t.Errorf("%q was taken as %+v", item, got)
		}
	}
}

func TestShown(t *testing.T) {
	for item, want := range map[string]string{
		"tcp://db:5432": "tcp://db:5432", "dns:db": "dns:db", "http://web/a@b": "http://web/a@b", "https://ops:pw@web:8/x?t=1#y": "https://hidden@web:8/x?hidden#y",
		"http://ops:p%w@web/x?t=1": "http://hidden@web/x", "http://ops:p/w@web": "http://hidden@web",
	} {
		if got := Shown(item); got != want {
			t.Errorf("%s: %s, want %s", item, got, want)
		}
	}
	_, err := load(t, `{"health": {"report_to": "https://ops:pw1@vm1", "wait_for": ["http://ops:pw2%@db"], "checks": {"a": {"kind": "http", "url": "http://ops:pw3/@/"}}}}`)
	if err == nil || strings.Count(err.Error(), "hidden") != 3 || strings.Contains(err.Error(), "pw") {
		t.Error(err)
	}
}

func TestGateSettings(t *testing.T) {
	s, err := load(t, `{"health": {
		"wait_for": ["tcp://db:5432", "check:page"], "restart": {"after": "30s"}, "job": {"every": "24h"},
		"checks": {"page": {"kind": "http", "url": "http://127.0.0.1/", "class": "live"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Restart{After: 30 * time.Second, Max: 3, Per: time.Hour}, s.Restart); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Job{Every: 24 * time.Hour, Grace: 10 * time.Minute}, s.Job); diff != "" {
		t.Error(diff)
	}
	for section, want := range map[string]string{
		`{"wait_for": ["check:page"]}`:                                      `hub.json:1: health.wait_for[0]: there is no check "page"`,
		`{"wait_for": ["check:it"], "checks": {"it": {"kind": "process"}}}`: "wait for its own start",
		`{"job": {"every": "24h"}, "checks": {"job": {"kind": "process"}}}`: "health.checks.job: is the check that tells how health.job ended",
		`{"wait_for": ["db"]}`:                                              "must be tcp://host:port",
		`{"restart": {"after": "30s"}}`:                                     "no check is of class live",
		`{"restart": {"after": "1s"}}`:                                      "at least 5s",
		`{"restart": {"after": "30s", "max": 0}}`:                           "restart.max",
		`{"restart": {"after": "9s"}, "checks": {"a": {"kind": "push", "class": "live", "criticality": "info"}}}`: "no check is of class live",
	} {
		if _, err := load(t, `{"health": `+section+`}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", section, err, want)
		}
	}
}
