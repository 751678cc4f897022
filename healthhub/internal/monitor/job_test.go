// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/initctl"
)

var daily = setting.Job{Every: 24 * time.Hour, Grace: time.Hour}

// job makes the monitor of a container whose service is a job, as it is when the container starts.
func job(dir string, log *bytes.Buffer) *Monitor {
	if log == nil {
		log = new(bytes.Buffer)
	}
	return New(Config{RunDir: "/nowhere", Changed: func() {}, Job: daily, StateDir: dir, Log: zerolog.New(log)})
}

func wantText(t *testing.T, m *Monitor, part string) {
	t.Helper()
	if text := m.Nodes()[0].Text; !strings.Contains(text, part) {
		t.Errorf("text %q, want %q in it", text, part)
	}
}

func TestJob(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "health")
	synctest.Test(t, func(t *testing.T) {
		m := job(dir, nil)
		want(t, m, "job=pass[critical unchecked]")
		m.Exited(initctl.Exit{Code: 0, At: time.Now()})
		want(t, m, "job=pass[critical]")
		wantText(t, m, "the job ended 2000-01-01 00:00:00Z with exit code 0")
		if due := time.Now().Add(25 * time.Hour); !m.Nodes()[0].ValidUntil.Equal(due) {
			t.Errorf("valid until %s, want %s", m.Nodes()[0].ValidUntil, due)
		}
		time.Sleep(25*time.Hour - time.Second)
		want(t, m, "job=pass[critical]")

		m = job(dir, nil) // made anew for its next run, just in time
		want(t, m, "job=pass[critical]")
		time.Sleep(2 * time.Second) // and it takes too long
		want(t, m, "job=fail[critical stale]")
		wantText(t, m, "the job is due since 2000-01-02 00:00:00Z; the last time it ended 2000-01-01 00:00:00Z with exit code 0")
		m.Exited(initctl.Exit{Code: 137, Signal: "KILL", OOM: true, At: time.Now()})
		want(t, m, "job=fail[critical]")
		wantText(t, m, "with exit code 137: out of memory")

		time.Sleep(10 * time.Hour)
		m = job(dir, nil)
		want(t, m, "job=fail[critical]")
		time.Sleep(16 * time.Hour)
		want(t, m, "job=fail[critical stale]")
		m = job(dir, nil) // late is late, however often it is started
		want(t, m, "job=fail[critical stale]")
		m.Exited(initctl.Exit{At: time.Now()})
		want(t, m, "job=pass[critical]")
	})
}

// A container that is killed each time before it ends is late all the same.
func TestJobThatNeverEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for range 25 {
			want(t, job(dir, nil), "job=pass[critical unchecked]")
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Second)
		m := job(dir, nil)
		want(t, m, "job=fail[critical stale unchecked]")
		wantText(t, m, "has not ended once since 2000-01-01 00:00:00Z, and is due every 24h")
	})
}

// hubinit's state tells of an end for as long as it stands: once is enough.
func TestJobEndIsKnown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		end := initctl.Exit{Code: 3, At: time.Now()}
		m := job(dir, nil)
		m.Exited(end)
		time.Sleep(24 * time.Hour)
		m.Exited(end)
		m.Exited(initctl.Exit{At: end.At.Add(-time.Minute)})
		want(t, m, "job=fail[critical]")
		time.Sleep(2 * time.Hour)
		want(t, m, "job=fail[critical stale]")
		// A clock that was years ahead and was set since does not make all that comes older than what is known.
		m.Exited(initctl.Exit{At: end.At.Add(-1000 * time.Hour)})
		if m.Nodes()[0].Text == "" || m.job.Exit.Code != 0 {
			t.Errorf("%+v", m.job.Exit)
		}
	})
}

func TestJobWithoutMemory(t *testing.T) {
	for name, content := range map[string]string{
		"torn": `{"schema":1,"sin`, "empty": "", "another": `{}`, "large": strings.Repeat(" ", maxJobBytes+1),
		"the future": `{"schema":1,"since":"2100-01-01T00:00:00Z","exit":{"code":0,"at":"2100-01-01T00:00:00Z"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, jobFileName), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				m := job(dir, &log)
				flags := "[critical unchecked]"
				if name == "the future" {
					flags = "[critical]"
				} else if strings.Count(log.String(), "not known") != 1 {
					t.Errorf("log: %s", &log)
				}
				want(t, m, "job=pass"+flags)
				time.Sleep(25*time.Hour - time.Second)
				want(t, m, "job=pass"+flags)
				time.Sleep(2 * time.Second)
				want(t, m, "job=fail"+strings.Replace(flags, "critical", "critical stale", 1))
			})
		})
	}
	// No directory to remember in, or one that cannot be written: the container's own time counts.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		for _, dir := range []string{"", filepath.Join(file, "below")} {
			var log bytes.Buffer
			m := job(dir, &log)
			m.Exited(initctl.Exit{Code: 1, At: time.Now()})
			want(t, m, "job=fail[critical]")
			if (dir == "") != (log.Len() == 0) {
				t.Errorf("%q: log %s", dir, &log)
			}
		}
	})
}

func TestDeclaredJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pushed(setting.JobCheck, setting.DefaultTTL)
		m := New(Config{RunDir: "/nowhere", Changed: func() {}, Job: daily, Checks: []Check{c}})
		time.Sleep(time.Hour)
		want(t, m, "job=pass[unchecked]")
		m.Exited(initctl.Exit{Code: 1, At: time.Now()})
		time.Sleep(time.Hour)
		want(t, m, "job=fail[]")
	})
}
