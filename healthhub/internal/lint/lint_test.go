// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// check makes one as the settings would.
func check(kind string, set func(*setting.Check)) setting.Check {
	s := setting.DefaultCheck(kind)
	s.Criticality = setting.Critical // so that one is
	set(&s)
	return s
}

func run(t *testing.T, c Container) Report {
	t.Helper()
	report, err := Run(context.Background(), c, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestFindings(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusMovedPermanently)
		}
	}))
	defer site.Close()
	plugin := filepath.Join(t.TempDir(), "check_load")
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	no := false
	sh := func(script string) func(*setting.Check) {
		return func(s *setting.Check) { s.Command = []string{"sh", "-c", script} }
	}
	for name, test := range map[string]struct {
		check setting.Check
		want  string // level and part of the text of the only finding; "": there is none
	}{
		"good":    {check(setting.KindHTTP, func(s *setting.Check) { s.URL = site.URL }), ""},
		"push":    {check(setting.KindPush, func(s *setting.Check) {}), ""},
		"fails":   {check(setting.KindUnix, func(s *setting.Check) { s.Path = "/nowhere.sock" }), "warning: fails now"},
		"timeout": {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Interval = site.URL, time.Second }), "warning: timeout 5s is above interval 1s"},
		"slow":    {check(setting.KindExec, func(s *setting.Check) { sh("sleep 0.3")(s); s.Timeout = 500 * time.Millisecond }), "warning: took"},
		"busy": {check(setting.KindExec, func(s *setting.Check) {
			sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")(s)
			s.Interval, s.Timeout = time.Millisecond, time.Minute // which no settings allow: so it is much on any machine
		}), "warning: costs"},
		"redirection": {check(setting.KindHTTP, func(s *setting.Check) { s.URL = site.URL + "/moved" }), "warning: passes by a redirection (301)"},
		"meant":       {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Status = site.URL+"/moved", "301" }), ""},
		"swallowed":   {check(setting.KindExec, sh("false || true")), "error: passes whatever happens"},
		"no command":  {check(setting.KindExec, func(s *setting.Check) { s.Command = []string{"/nowhere/x"} }), "error: cannot be run"},
		"plugin":      {check(setting.KindExec, func(s *setting.Check) { s.Command, s.Convention = []string{plugin}, setting.ConventionNagios }), ""},
		"said":        {check(setting.KindExec, sh(`echo "DISK OK - free | /=1GB;2;3"`)), "warning: looks like a Nagios plugin"},
		"any file":    {check(setting.KindFile, func(s *setting.Check) { s.Path = plugin }), "warning: passes as long as the file is there"},
		"fresh file":  {check(setting.KindFile, func(s *setting.Check) { s.Path, s.MaxAge = plugin, time.Hour }), ""},
		"unverified":  {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Verify = site.URL, &no }), "warning: trusts any certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			report := run(t, Container{Checks: map[string]setting.Check{"a": test.check}})
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Level+": "+f.Text)
				if f.Action == "" {
					t.Errorf("%s: nothing to do", f.Text)
				}
			}
			switch level, text, _ := strings.Cut(test.want, ": "); {
			case test.want == "" && len(got) == 0:
			case name == "busy": // its timeout is above its interval as well
				if !strings.Contains(strings.Join(got, "\n"), test.want) {
					t.Errorf("%q, want %s", got, test.want)
				}
			case len(got) != 1 || !strings.HasPrefix(got[0], level+": ") || !strings.Contains(got[0], text) || test.want == "":
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// What is elsewhere must not make a container be restarted, nor, unless that is meant, fail.
func TestOutside(t *testing.T) {
	c := Container{Own: []string{"web.shop.vm1", "10.1.2.3"}}
	for name, test := range map[string]struct {
		check setting.Check
		want  string
	}{
		"critical":    {check(setting.KindTCP, func(s *setting.Check) { s.Address = "db:5432" }), Warning},
		"live":        {check(setting.KindTCP, func(s *setting.Check) { s.Address, s.Class = "db:5432", setting.ClassLive }), Error},
		"live names":  {check(setting.KindDNS, func(s *setting.Check) { s.Name, s.Class = "db", setting.ClassLive }), Error},
		"live web":    {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Class = "https://example.org/", setting.ClassLive }), Error},
		"degrading":   {check(setting.KindTCP, func(s *setting.Check) { s.Address, s.Criticality = "db:5432", setting.Degrading }), ""},
		"info":        {check(setting.KindTCP, func(s *setting.Check) { s.Address, s.Class, s.Criticality = "db:1", setting.ClassLive, setting.Info }), ""},
		"own":         {check(setting.KindTCP, func(s *setting.Check) { s.Address, s.Class = "10.1.2.3:80", setting.ClassLive }), ""},
		"own name":    {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Class = "http://web.shop.vm1/", setting.ClassLive }), ""},
		"loopback":    {check(setting.KindTCP, func(s *setting.Check) { s.Address, s.Class = "[::1]:80", setting.ClassLive }), ""},
		"usual":       {check(setting.KindPostgres, func(s *setting.Check) { s.Class = setting.ClassLive }), ""},
		"socket":      {check(setting.KindRedis, func(s *setting.Check) { s.Path, s.Class = "/run/redis.sock", setting.ClassLive }), ""},
		"by a socket": {check(setting.KindHTTP, func(s *setting.Check) { s.URL, s.Path, s.Class = "http://api/", "/run/a.sock", setting.ClassLive }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			outside(c, test.check, func(level, _, _ string, _ ...any) { got = level })
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestTogether(t *testing.T) {
	texts := func(c Container) string {
		var all []string
		for _, f := range run(t, c).Findings {
			if f.Check == "" {
				all = append(all, f.Level+": "+f.Text)
			}
		}
		return strings.Join(all, "\n")
	}
	if got := texts(Container{}); !strings.HasPrefix(got, "error: no check looks at this container") {
		t.Error(got)
	}
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	u, _ := url.Parse(site.URL)
	port, _ := strconv.Atoi(u.Port())
	page := check(setting.KindHTTP, func(s *setting.Check) { s.URL = site.URL })
	c := Container{Checks: map[string]setting.Check{"page": page}, Ports: []uint16{uint16(port), 9}}
	if got := texts(c); got != "warning: the service listens on port 9, and no check looks at it" {
		t.Error(got)
	}
	c.Checks["ports"] = setting.DefaultCheck(setting.KindPorts)
	if got := texts(c); got != "" {
		t.Error(got)
	}
	many := map[string]setting.Check{}
	for i := range 9 {
		many["c"+strconv.Itoa(i)] = check(setting.KindUnix, func(s *setting.Check) {
			s.Path, s.Interval, s.Criticality = "/nowhere.sock", time.Second, setting.Degrading
		})
	}
	got := texts(Container{Checks: many})
	if !strings.Contains(got, "no check is critical") || !strings.Contains(got, "if everything hangs, looks take 7.5 of the 4 places") {
		t.Error(got)
	}
	hang := check(setting.KindUnix, func(*setting.Check) {})
	hang.Interval, hang.Timeout = time.Second, 10*time.Second
	looks := []Look{{Check: "a", Took: 3}, {Check: "b", Took: 9}, {Check: "c", Took: 9}}
	for i := range looks {
		looks[i].Interval = 1
	}
	for _, f := range together(Container{Checks: map[string]setting.Check{"a": hang, "b": hang, "c": hang}}, looks) {
		if f.Level != Error || !strings.Contains(f.Text, "looks take 2.5 of the 4 places") {
			t.Errorf("%+v", f)
		}
	}
}

// Processes are counted, and time of processors, of what a look starts.
func TestCost(t *testing.T) {
	s := check(setting.KindExec, func(s *setting.Check) {
		s.Command = []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true; done; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"}
	})
	l := run(t, Container{Checks: map[string]setting.Check{"a": s}}).Looks[0]
	if l.State != health.Pass || l.Started >= 0 && l.Started < 9 || l.CPU <= 0 || l.Took < l.CPU/10 {
		t.Errorf("%+v", l)
	}
	u := check(setting.KindUnix, func(s *setting.Check) { s.Path = "/nowhere.sock" })
	if l := run(t, Container{Checks: map[string]setting.Check{"a": u}}).Looks[0]; l.Started != 0 {
		t.Errorf("%+v", l)
	}
}
