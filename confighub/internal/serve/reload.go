// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// Follow publishes the tree at root, and again whenever it changes, until ctx ends. A tree that is broken changes nothing;
// each of its problems is a line of the log.
func Follow(ctx context.Context, root string, published *Publication, log zerolog.Logger) error {
	f := &follower{root: root, published: published, log: log}
	return tree.Watch(ctx, root, log, f.reload)
}

type follower struct {
	root      string
	compiler  tree.Compiler
	published *Publication
	log       zerolog.Logger
	// failure is the last reason why a good tree could not be published; it is said once, however often it is tried.
	failure string
}

// reload reports whether it is done with the tree as it is now; if not, it is to be called again.
func (f *follower) reload() bool {
	began := time.Now()
	read, err := tree.Read(f.root)
	if errors.Is(err, tree.ErrChanging) {
		return false
	}
	var blobs map[string]*tree.Blob
	if err == nil {
		blobs, err = f.compiler.Compile(read)
	}
	if err != nil {
		lines := problems(err)
		f.published.Reject(lines, began)
		for _, line := range lines {
			f.log.Error().Msg("the tree is broken: " + line)
		}
		f.log.Error().Int("problems", len(lines)).Msg("the tree is broken: what was published before stays")
		return true
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
	f.failure = ""
	f.log.Info().Str("revision", read.Revision).Int("containers", len(blobs)).Int("changed", changed).
		Dur("took", time.Since(began)).Msg("tree published")
	return true
}

// problems is one string for each thing that is wrong.
func problems(err error) []string {
	if list, ok := errors.AsType[bundle.Problems](err); ok {
		return list.Lines()
	}
	return strings.Split(err.Error(), "\n")
}
