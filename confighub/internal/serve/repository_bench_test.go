// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/confighub/internal/tree"
)

// published tells when a line of the log says that a tree was published.
type published chan time.Time

func (p published) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("tree published")) {
		p <- time.Now()
	}
	return len(line), nil
}

// commits is how many one round of the benchmark makes: the fewest of which a p99 says something.
const commits = 60

// BenchmarkPublish measures the time until a commit that changes one file is published for every container it is for, from
// the moment at which the branch of a bare repository moves, and from the start of a git push.
func BenchmarkPublish(b *testing.B) {
	for _, hosts := range []int{10, 1000} {
		files := map[string]string{"services/web/templates/nginx.conf": "listen {{port}};\n", "services/web/data/web.json": `{"port": 80}`}
		for i := range hosts {
			host := fmt.Sprintf("hosts/vm%d/", i)
			files[host+"host.json"] = `{"stacks": {"shop": {"services": ["web", "db"]}}}`
			files[host+"data/host.json"] = fmt.Sprintf(`{"host": %d}`, i)
		}
		p := repositorytest.New(b)
		p.Push(files)
		root, err := tree.Open(p.Bare, "main")
		if err != nil {
			b.Fatal(err)
		}
		publication, err := serve.OpenPublication(filepath.Join(b.TempDir(), "serve"))
		if err != nil {
			b.Fatal(err)
		}
		seen := make(published, 1)
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- serve.Follow(ctx, root, nil, publication, zerolog.New(seen)) }()
		<-seen
		n := 0
		commit := func() string {
			n++
			return p.Commit(map[string]string{"hosts/vm0/data/host.json": fmt.Sprintf(`{"host": 0, "n": %d}`, n)})
		}
		run := func(name string, move func(commit string) (began time.Time)) {
			b.Run(fmt.Sprintf("hosts=%d/%s", hosts, name), func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					for range commits {
						began := move(commit())
						took = append(took, (<-seen).Sub(began))
					}
				}
				slices.Sort(took)
				ms := func(share float64) float64 {
					return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000
				}
				b.ReportMetric(ms(.5), "p50-ms")
				b.ReportMetric(ms(.99), "p99-ms")
				b.ReportMetric(0, "ns/op") // that of many commits and pushes
			})
		}
		run("ref", func(id string) time.Time {
			// The objects are there before, and the ref moves as git moves it.
			p.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/next")
			lock := filepath.Join(p.Bare, "refs/heads/main.lock")
			if err := os.WriteFile(lock, []byte(id+"\n"), 0o644); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			if err := os.Rename(lock, filepath.Join(p.Bare, "refs/heads/main")); err != nil {
				b.Fatal(err)
			}
			return began
		})
		run("push", func(string) time.Time {
			began := time.Now()
			p.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
			return began
		})
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
