// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
	"cloud4.internal/hub/internal/identity/identitytest"
)

const hookSecret = "a secret of more than sixteen bytes"

// newRepositoryServer serves the branch main of a bare repository.
func newRepositoryServer(t *testing.T, files map[string]string) (*server, *repositorytest.Pair) {
	t.Helper()
	p := repositorytest.New(t)
	p.Push(files)
	s := &server{
		t: t, ca: identitytest.New(t), root: p.Bare, ref: "main", webhook: "127.0.0.1:0", state: filepath.Join(t.TempDir(), "serve"),
	}
	s.start()
	return s, p
}

// page is what a commit says that web is to have.
func page(text string) map[string]string {
	return map[string]string{"services/web/data/web.json": `{"page": "` + text + `"}`}
}

// await asks until the pointer is of this revision.
func (c *client) await(name, revision string) bundle.Pointer {
	c.s.t.Helper()
	var last bundle.Pointer
	waitFor(c.s.t, 30*time.Second, func() bool {
		last = c.pointer(name)
		return last.Revision == revision
	}, func() string {
		return "the revision is " + last.Revision + ", not " + revision + ":\n" + c.s.log.String()
	})
	return last
}

func TestServesARepository(t *testing.T) {
	s, p := newRepositoryServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	first := c.await("web.shop.vm1", p.Git("rev-parse", "HEAD"))
	if first.Serial != 1 {
		t.Errorf("the first commit has serial %d", first.Serial)
	}
	if page := c.data("web.shop.vm1", first)["page"]; page != "first" {
		t.Errorf("page is %v", page)
	}

	t.Run("a push", func(t *testing.T) {
		p.Commit(page("unseen"))
		second := c.await("web.shop.vm1", p.Push(page("second")))
		if second.Serial != 3 {
			t.Errorf("the third commit has serial %d", second.Serial)
		}
		// What a commit does not change keeps its version.
		if db := s.client(s.container("vm1", "shop", "db", "")).pointer("db.shop.vm1"); db.Serial != 1 || db.Revision != first.Revision {
			t.Errorf("db is of serial %d, revision %s", db.Serial, db.Revision)
		}
	})

	t.Run("packing", func(t *testing.T) {
		before := c.pointer("web.shop.vm1")
		p.InBare("gc", "--quiet", "--prune=now")
		id := p.Push(page("packed"))
		if got := c.await("web.shop.vm1", id); got.Serial != before.Serial+1 {
			t.Errorf("serial %d after %d", got.Serial, before.Serial)
		}
	})

	t.Run("a broken commit", func(t *testing.T) {
		before := c.pointer("web.shop.vm1")
		id := p.Push(map[string]string{"services/web/data/web.json": "{\n  \"page\" 1}"})
		s.log.wait(t, "the tree is broken: "+id[:12]+":services/web/data/web.json:2: column 10: ")
		if got := c.pointer("web.shop.vm1"); got != before {
			t.Errorf("published: %+v", got)
		}
		if told := s.fleet(t).Tree.Problems; len(told) != 1 || !strings.HasPrefix(told[0], id[:12]+":services/web/data/web.json:2: ") {
			t.Errorf("the fleet says %q", told)
		}
		c.await("web.shop.vm1", p.Push(page("mended")))
		if told := s.fleet(t).Tree.Problems; len(told) != 0 {
			t.Errorf("the fleet says %q", told)
		}
	})

	t.Run("a forced push to fewer commits", func(t *testing.T) {
		before := c.pointer("web.shop.vm1")
		p.Git("reset", "--quiet", "--hard", first.Revision)
		p.Git("push", "--quiet", "--force", "origin", "HEAD:main")
		back := c.await("web.shop.vm1", first.Revision)
		if back.Digest != first.Digest || back.Serial != before.Serial+1 {
			t.Errorf("serial %d after %d, digest %s, want %s", back.Serial, before.Serial, back.Digest, first.Digest)
		}
		s.log.wait(t, "the history was rewritten", first.Revision)
		if next := c.await("web.shop.vm1", p.Push(page("after"))); next.Serial != back.Serial+1 {
			t.Errorf("the commit after it has serial %d, not %d", next.Serial, back.Serial+1)
		}
	})

	t.Run("a restart", func(t *testing.T) {
		before := c.pointer("web.shop.vm1")
		s.stop()
		id := p.Push(page("meanwhile"))
		s.start()
		c = s.client(s.container("vm1", "shop", "web", ""))
		if got := c.await("web.shop.vm1", id); got.Serial != before.Serial+1 {
			t.Errorf("serial %d after %d", got.Serial, before.Serial)
		}
	})
}

// Whatever becomes of the repository, what was published stays, and the reason is said once.
func TestKeepsTheLastGoodOfARepository(t *testing.T) {
	s, p := newRepositoryServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	before := c.await("web.shop.vm1", p.Git("rev-parse", "HEAD"))
	second := p.Commit(page("second"))
	object := p.Git("rev-parse", "HEAD:services/web/data/web.json")
	file := filepath.Join(p.Bare, "objects", object[:2], object[2:])
	var kept []byte
	tests := []struct {
		name  string
		spoil func()
		says  string
		mend  func()
	}{
		{
			"a ref that vanishes", func() { p.InBare("update-ref", "-d", "refs/heads/main") },
			`no such branch or tag \"main\"`, func() { p.InBare("update-ref", "refs/heads/main", before.Revision) },
		},
		{
			"a repository that vanishes", func() { rename(t, p.Bare, p.Bare+".away") },
			"is no git repository any more", func() { rename(t, p.Bare+".away", p.Bare) },
		},
		{
			"a missing object", func() {
				p.Git("push", "--quiet", "origin", "HEAD:refs/heads/other")
				var err error
				if kept, err = os.ReadFile(file); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
				// As git itself would not let the branch go there.
				if err := os.WriteFile(filepath.Join(p.Bare, "refs/heads/main"), []byte(second+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			"the object " + object + " is missing or damaged",
			func() {
				if err := os.WriteFile(file, kept, 0o444); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spoil()
			s.log.wait(t, "the tree cannot be read: ", tt.says)
			if got := c.pointer("web.shop.vm1"); got != before {
				t.Errorf("published: %+v", got)
			}
			tt.mend()
			waitFor(t, 30*time.Second, func() bool { return len(s.fleet(t).Tree.Problems) == 0 }, s.log.String)
			if said := strings.Count(s.log.String(), tt.says); said != 1 {
				t.Errorf("it is said %d times:\n%s", said, s.log)
			}
		})
	}
	c.await("web.shop.vm1", second)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// A hook makes the server look at once, whether anything tells of a change or not.
func TestWebhook(t *testing.T) {
	s, p := newRepositoryServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	c.await("web.shop.vm1", p.Git("rev-parse", "HEAD"))
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(s.log.wait(t, "taking webhooks")), &line); err != nil {
		t.Fatal(err)
	}
	hook := func(secret string) int {
		t.Helper()
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(`{}`))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+line.Address+"/webhook", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	const looked = "looked at the repository: nothing new"
	before := strings.Count(s.log.String(), looked)
	if got := hook("another secret of the same kind"); got != http.StatusUnauthorized {
		t.Errorf("a hook of another secret got %d", got)
	}
	s.log.wait(t, "webhook refused", "is not signed with the secret")
	if strings.Count(s.log.String(), looked) != before {
		t.Error("a refused hook led to a look")
	}
	if got := hook(hookSecret); got != http.StatusNoContent {
		t.Errorf("a hook got %d", got)
	}
	waitFor(t, 30*time.Second, func() bool { return strings.Count(s.log.String(), looked) > before }, s.log.String)
	c.await("web.shop.vm1", p.Push(page("hooked")))
}
