// SPDX-License-Identifier: AGPL-3.0-or-later

package repository_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/repository"
	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

// follow watches the ref until the test ends and tells what it held at each call: the commit, or the error.
func follow(t *testing.T, repo *repository.Repository, look <-chan struct{}) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan string, 1000), make(chan error, 1)
	go func() {
		done <- repo.WatchByEvents(ctx, look, zerolog.New(zerolog.NewTestWriter(t)), func() bool {
			got, err := read(ctx, repo)
			if err != nil {
				states <- err.Error()
				return true
			}
			states <- got.commit
			return true
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return states
}

// await takes states until this one comes.
func await(t *testing.T, states <-chan string, what, want string) {
	t.Helper()
	end := time.After(30 * time.Second)
	for {
		select {
		case got := <-states:
			if got == want {
				return
			}
		case <-end:
			t.Fatalf("%s: nobody said %s", what, want)
		}
	}
}

func TestWatch(t *testing.T) {
	p := repositorytest.New(t)
	gone := `no such branch or tag "team/main" in ` + p.Bare
	states := follow(t, open(t, p.Bare, "team/main"), nil)
	await(t, states, "a ref that is not there", gone)
	push := func(text string) string {
		id := p.Commit(map[string]string{"a": text})
		p.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/team/main")
		return id
	}
	await(t, states, "the first push", push("first"))
	await(t, states, "a push", push("second"))
	p.InBare("gc", "--quiet", "--prune=now")
	if _, err := os.Stat(filepath.Join(p.Bare, "refs/heads/team")); err == nil {
		t.Fatal("the ref is not packed")
	}
	await(t, states, "a push after packing", push("third"))
	p.Git("reset", "--quiet", "--hard", "HEAD~2")
	await(t, states, "a forced push", push("fourth"))
	p.InBare("update-ref", "-d", "refs/heads/team/main")
	await(t, states, "a removed ref", gone)
	await(t, states, "a ref that came back", push("fifth"))
	away := p.Bare + ".away"
	if err := os.Rename(p.Bare, away); err != nil {
		t.Fatal(err)
	}
	await(t, states, "a removed repository", p.Bare+" is no git repository any more: HEAD, objects or refs is missing")
}

// A repository that was away is watched again after it is back, as its reader asks to be called again.
func TestWatchTriesAgain(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"a": "1"})
	repo := open(t, p.Bare, "main")
	away := p.Bare + ".away"
	if err := os.Rename(p.Bare, away); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	err := repo.WatchByEvents(ctx, nil, zerolog.Nop(), func() bool {
		_, err := read(ctx, repo)
		switch calls++; calls {
		case 1:
			if err == nil {
				t.Error("a repository that is away is read")
			}
			if err := os.Rename(away, p.Bare); err != nil {
				t.Error(err)
			}
		case 2:
			if err != nil {
				t.Error(err)
			}
			p.Push(map[string]string{"a": "2"})
		default:
			cancel()
		}
		return err == nil
	})
	if err != nil || calls < 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// A branch that is another name of one moves with it.
func TestWatchOfASymbolicRef(t *testing.T) {
	p := repositorytest.New(t)
	id := p.Push(map[string]string{"a": "1"})
	p.InBare("symbolic-ref", "refs/heads/live", "refs/heads/main")
	states := follow(t, open(t, p.Bare, "live"), nil)
	await(t, states, "the start", id)
	await(t, states, "a push to the branch behind it", p.Push(map[string]string{"a": "2"}))
	p.Git("push", "--quiet", "origin", id+":refs/heads/team/next")
	p.InBare("symbolic-ref", "refs/heads/live", "refs/heads/team/next")
	await(t, states, "another branch behind it", id)
	next := p.Commit(map[string]string{"a": "3"})
	p.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/team/next")
	await(t, states, "a push to that", next)
}

func TestWatchLooksWhenTold(t *testing.T) {
	p := repositorytest.New(t)
	id := p.Push(map[string]string{"a": "1"})
	look := make(chan struct{})
	states := follow(t, open(t, p.Bare, "main"), look)
	await(t, states, "the start", id)
	look <- struct{}{}
	await(t, states, "a look", id)
}
