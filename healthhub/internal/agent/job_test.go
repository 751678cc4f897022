// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

func parseID(t *testing.T, uri string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse("spiffe://cloud4.internal" + uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// receiver is a host that takes every report, over real TLS, and who may send it some.
func receiver(t *testing.T) (url string, sender *identity.Files, reports chan *report.Report) {
	t.Helper()
	ca := identitytest.New(t)
	reports = make(chan *report.Report, 1000)
	server := mtls.Server(ca.Files(t, parseID(t, "/host/vm1")), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := report.Decode(r.Body, "", 1<<20, health.ContainerLimits)
		if err != nil {
			t.Error(err)
			return
		}
		reports <- got
		w.WriteHeader(http.StatusNoContent)
	}), func(r mtls.Refusal) { t.Errorf("refused: %+v", r) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { server.Close(); <-served })
	return "https://" + l.Addr().String(), ca.Files(t, parseID(t, "/host/vm1/stack/shop/service/web")), reports
}

// The last report of a job carries how it ended, and of the rest what stays true.
func TestJob(t *testing.T) {
	t.Parallel()
	url, files, reports := receiver(t)
	job := setting.Job{Every: 24 * time.Hour, Grace: time.Hour}
	running := initctl.ServiceState{State: initctl.ServiceRunning, StartedAt: time.Now().Add(-time.Minute)}
	three, zero := 3, 0
	for name, test := range map[string]struct {
		code  *int // that the container ends with
		job   setting.Job
		exit  *initctl.Exit
		state health.State
		want  *report.Job
		text  string
	}{
		"done":          {&zero, job, &initctl.Exit{Code: 0, At: time.Now()}, health.Pass, &report.Job{Exit: 0, DueIn: 90000}, "with exit code 0"},
		"failed":        {&three, job, &initctl.Exit{Code: 3, At: time.Now()}, health.Fail, &report.Job{Exit: 3, DueIn: 90000}, "with exit code 3"},
		"success code":  {&zero, job, &initctl.Exit{Code: 143, Signal: "TERM", At: time.Now()}, health.Pass, &report.Job{Exit: 0, DueIn: 90000}, "ended"},
		"never ran":     {&three, job, nil, health.Fail, &report.Job{Exit: 3, DueIn: 90000}, "with exit code 3"},
		"stopped alone": {nil, job, nil, health.Pass, nil, ""},
		"no job":        {&zero, setting.Job{}, &initctl.Exit{Code: 0}, health.Pass, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, state := t.TempDir(), t.TempDir()
			s := &initctl.State{Service: running}
			if err := s.Write(dir); err != nil {
				t.Fatal(err)
			}
			init := newHubinit(true)
			looked := setting.DefaultCheck(setting.KindTCP)
			looked.Address = "127.0.0.1:1"
			a, stop := launchIn(t, Config{RunDir: dir, StateDir: state, Files: files, Init: init, Settings: setting.Settings{
				ReportTo: url, Job: test.job,
				Checks: map[string]setting.Check{"port": looked, "backup": setting.DefaultCheck(setting.KindPush)},
			}})
			waitFor(t, 5*time.Second, init.isReady)
			if code, body := ask(t, dir, "POST", "/v1/report", `{"name": "backup", "state": "pass", "text": "3 GiB"}`); code != 204 {
				t.Fatal(code, body)
			}
			first := <-reports
			waitFor(t, 5*time.Second, func() bool { return !a.sender.Status().LastOK.IsZero() }) // it is known there
			s.Service = initctl.ServiceState{State: initctl.ServiceExited, LastExit: test.exit}
			s.ExitCode = test.code
			if err := s.Write(dir); err != nil {
				t.Fatal(err)
			}
			stop()
			last := first
			for len(reports) > 0 {
				last = <-reports
			}
			if last.Instance != first.Instance || !last.Stopping || (last.Job == nil) != (test.want == nil) {
				t.Fatalf("the last report: %+v", last)
			}
			if test.want == nil {
				return
			}
			if last.Job.Exit != test.want.Exit || last.Job.DueIn != test.want.DueIn || last.Job.EndedAt.IsZero() || last.Node.State != test.state {
				t.Errorf("job %+v of %v, want %+v of %v", last.Job, last.Node.State, test.want, test.state)
			}
			var names []string
			for _, n := range last.Node.Children {
				names = append(names, n.Name)
				if n.Name == setting.JobCheck && !strings.Contains(n.Text, test.text) {
					t.Errorf("the job says %q", n.Text)
				}
			}
			if got := strings.Join(names, " "); got != "backup job hub/init hub/identity hub/health" {
				t.Errorf("reported of %s", got)
			}
		})
	}
}

// The last report of a service that ended by itself says how, however long ago anybody looked last.
func TestLastWordOfAnEnd(t *testing.T) {
	dir, code := t.TempDir(), 3
	a, err := New(Config{Name: "web.shop.vm1", RunDir: dir, Files: identity.Open(dir), Log: zerolog.Nop(), Init: newHubinit(true)})
	if err != nil {
		t.Fatal(err)
	}
	before := a.refresh()
	s := &initctl.State{ExitCode: &code, Stopping: "the service exited", Service: initctl.ServiceState{
		State: initctl.ServiceExited, LastExit: &initctl.Exit{Code: code, At: time.Now()},
	}}
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	n, job := a.lastWord()
	if before.State == health.Fail || n.State != health.Fail || !strings.Contains(n.Text, "the service ended with code 3") || job != nil {
		t.Errorf("was %v, is %v: %s, %+v", before.State, n.State, n.Text, job)
	}
}

// A job that was over before the first report is reported all the same.
func TestJobInNoTime(t *testing.T) {
	t.Parallel()
	url, files, reports := receiver(t)
	dir, code := t.TempDir(), 0
	s := &initctl.State{ExitCode: &code, Service: initctl.ServiceState{State: initctl.ServiceExited, LastExit: &initctl.Exit{At: time.Now()}}}
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	sender := report.NewSender(url, files, func() health.Node { return health.Node{} }, zerolog.Nop())
	a, err := New(Config{
		Name: "web.shop.vm1", RunDir: dir, Files: files, Log: zerolog.Nop(), Init: newHubinit(true),
		Settings: setting.Settings{Job: setting.Job{Every: time.Hour}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sender.Last = a.lastWord
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sender.Run(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case last := <-reports:
		if last.Job == nil || last.Seq == 0 {
			t.Errorf("%+v", last)
		}
	default:
		t.Error("nothing was reported")
	}
}
