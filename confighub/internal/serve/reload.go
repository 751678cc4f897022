// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// Follow publishes the tree at root, and again whenever it changes or look is sent something, until ctx ends. A tree that is
// broken changes nothing; each of its problems is a line of the log. Nor does a root that cannot be read: it is tried again.
func Follow(ctx context.Context, root *tree.Root, look <-chan struct{}, published *Publication, log zerolog.Logger) error {
	f := &follower{root: root, published: published, log: log}
	return root.Watch(ctx, look, log, func() bool { return f.reload(ctx) })
}

type follower struct {
	root      *tree.Root
	compiler  tree.Compiler
	published *Publication
	log       zerolog.Logger
	// current is the tree that is published; nil until one is.
	current *tree.Tree
	// failure is why there is none newer than that; "" when there is none newer. It is said once, however often it is tried.
	failure string
}

// reload reports whether it is done with the tree as it is now; if not, it is to be called again.
func (f *follower) reload(ctx context.Context) bool {
	began := time.Now()
	read, err := f.root.Read(ctx)
	if errors.Is(err, tree.ErrChanging) {
		return false
	}
	if read != nil && read == f.current && f.failure == "" {
		f.log.Debug().Str("revision", read.Revision).Msg("looked at the repository: nothing new")
		return true
	}
	var blobs map[string]*tree.Blob
	if before := f.published.count(); err == nil && read.Empty() && before > 0 {
		err = fmt.Errorf("it is empty, and placed containers before (%d): is it mounted? A tree that is to place none keeps a file, such as hosts/vm1/host.json with {}", before)
	}
	if err == nil {
		blobs, err = f.compiler.Compile(read)
	}
	if err != nil {
		return ctx.Err() != nil || f.reject(err, began)
	}
	changed, err := f.published.Publish(read, blobs, began)
	if err != nil {
		f.published.Reject(problems(err), began)
		if f.failure != err.Error() {
			f.failure = err.Error()
			f.log.Error().Err(err).Msg("the tree is good but cannot be published: what was published before stays, and it is tried again")
		}
		return false
	}
	f.sayRewritten(read)
	f.current, f.failure = read, ""
	f.log.Info().Str("revision", read.Revision).Int("containers", len(blobs)).Int("changed", changed).
		Dur("took", time.Since(began)).Msg("tree published")
	return true
}

// reject says what is wrong and reports whether that is known for good: a commit that is broken stays so, while a repository
// that cannot be read may heal. A directory is watched for that.
func (f *follower) reject(err error, began time.Time) (done bool) {
	lines := problems(err)
	f.published.Reject(lines, began)
	_, broken := errors.AsType[bundle.Problems](err)
	done = broken || !f.root.IsRepository()
	if f.root.IsRepository() && err.Error() == f.failure {
		return done // the same commit, looked at once more
	}
	f.failure = err.Error()
	if !done {
		f.log.Error().Err(err).Msg("the tree cannot be read: what was published before stays, and it is tried again")
		return false
	}
	for _, line := range lines {
		f.log.Error().Msg("the tree is broken: " + line)
	}
	f.log.Error().Int("problems", len(lines)).Msg("the tree is broken: what was published before stays")
	return done
}

// sayRewritten warns of a history that does not go on from the tree before: containers take it, as its serials do.
func (f *follower) sayRewritten(read *tree.Tree) {
	if f.current != nil && read.Depth > 0 && read.Depth <= f.current.Depth && read.Revision != f.current.Revision {
		f.log.Warn().Str("revision", read.Revision).Uint64("depth", read.Depth).Str("before", f.current.Revision).Uint64("depth_before", f.current.Depth).
			Msg("the history was rewritten, to no more commits than before: it is published, under serials that go on upwards")
	}
}

// problems is one string for each thing that is wrong.
func problems(err error) []string {
	if list, ok := errors.AsType[bundle.Problems](err); ok {
		return list.Lines()
	}
	return strings.Split(err.Error(), "\n")
}
