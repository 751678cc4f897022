// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/repository"
)

// Root is where a tree lies: a directory, or a branch or tag of a git repository. It is not safe for concurrent use, but
// for Watch beside one Read at a time.
type Root struct {
	path string
	// repo is nil for a directory.
	repo *repository.Repository
	// last is the good tree that was read last.
	last *Tree
	// blobs are the files of the commit read last, by the names of their objects.
	blobs map[string][]byte
}

// Open takes path for a git repository if ref names a branch or tag of it, else for a directory. A bare repository without a
// ref is an error; a .git beside the tree is passed over as all hidden names are.
func Open(path, ref string) (*Root, error) {
	if ref == "" {
		if repository.IsBare(path) {
			return nil, fmt.Errorf("%s is a bare git repository: name the branch or tag to read, --ref main", path)
		}
		return &Root{path: path}, nil
	}
	repo, err := repository.Open(path, ref)
	if err != nil {
		return nil, fmt.Errorf("opening --root at --ref %s: %w", ref, err)
	}
	return &Root{path: path, repo: repo}, nil
}

// IsRepository reports whether the tree is read from git.
func (r *Root) IsRepository() bool { return r.repo != nil }

// Read reads the tree as it is now. What is wrong with it comes back as bundle.Problems, all at once, with the paths
// below the root; those of a commit begin with it, as git takes them: 0123456789ab:services/web/bundle.json:3. ErrChanging
// means that somebody is writing the directory just now. Any other error may pass by itself. For a commit that was read
// before it returns the same tree.
func (r *Root) Read(ctx context.Context) (*Tree, error) {
	if r.repo == nil {
		t, err := readDirectory(r.path, r.last)
		if err == nil {
			r.last = t
		}
		return t, err
	}
	reader, err := r.repo.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the repository: %w", err)
	}
	defer reader.Close()
	commit, err := reader.Commit()
	if err != nil {
		return nil, fmt.Errorf("reading the repository %s: %w", r.path, err)
	}
	if r.last != nil && r.last.Revision == commit.ID {
		return r.last, nil
	}
	t, err := r.readCommit(reader, commit)
	if problems, ok := errors.AsType[bundle.Problems](err); ok {
		return nil, problems
	}
	if err != nil {
		return nil, fmt.Errorf("reading the commit %s of %s: %w", commit.ID, r.path, err)
	}
	r.last = t
	return t, nil
}

// maxKept is how many bytes of files are kept for the next commit, which has most of them too.
const maxKept = 64 << 20

func (r *Root) readCommit(reader *repository.Reader, commit repository.Commit) (*Tree, error) {
	entries, err := reader.List(commit, ignored, maxFiles)
	if err != nil {
		return nil, err
	}
	found, blobs, problems := files{}, map[string][]byte{}, bundle.Problems(nil)
	total, kept := 0, 0
	for _, entry := range entries {
		if message := refuse(entry.Name, entry.Mode); message != "" {
			problems = append(problems, bundle.Problem{File: entry.Name, Message: message})
			continue
		}
		if entry.Mode.IsDir() {
			continue
		}
		raw, ok := r.blobs[entry.Object]
		if !ok {
			if raw, err = reader.Blob(entry.Object, maxFileBytes); errors.As(err, new(repository.TooLarge)) {
				problems = append(problems, bundle.Problem{File: entry.Name, Message: err.Error()})
				continue
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", entry.Name, err)
			}
		}
		if total += len(raw); total > maxTreeBytes {
			return nil, fmt.Errorf("is larger than %d MiB in all", maxTreeBytes>>20)
		}
		found[entry.Name] = raw
		if _, there := blobs[entry.Object]; !there && kept+len(raw) <= maxKept {
			blobs[entry.Object] = raw
			kept += len(raw)
		}
	}
	r.blobs = blobs
	t := newTree(commit.ID)
	t.Depth, t.commit = commit.Depth, commit.ID[:12]
	if problems = append(problems, t.sort(found, r.last)...); len(problems) > 0 {
		return nil, t.located(sorted(problems))
	}
	return t, nil
}

// Watch calls changed once as soon as it watches, and then whenever the tree has changed or look is sent something, until ctx
// ends; never twice at a time. When changed returns false, its work is not done and it is called again soon. A directory is
// waited for until it is quiet, and needs no look.
func (r *Root) Watch(ctx context.Context, look <-chan struct{}, log zerolog.Logger, changed func() bool) error {
	if r.repo == nil {
		return Watch(ctx, r.path, log, changed)
	}
	return r.repo.Watch(ctx, look, log, changed)
}

// Serial is that of the bundles which this tree changes, when previous is the highest one given before: the count of the
// commit's line of first parents, else Unix milliseconds, but always above previous. So a history that was rewritten to
// fewer commits, and a tree that comes from git from now on, go on upwards, and containers take what the root says.
func (t *Tree) Serial(previous uint64, now time.Time) uint64 {
	if t.Depth > 0 {
		return max(previous+1, t.Depth)
	}
	return max(previous+1, uint64(max(0, now.UnixMilli())))
}

// located puts the commit before the files that problems are about.
func (t *Tree) located(problems bundle.Problems) bundle.Problems {
	if t.commit == "" {
		return problems
	}
	for i := range problems {
		problems[i].File = t.commit + ":" + problems[i].File
	}
	return problems
}
