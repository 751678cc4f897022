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
	compiler := new(tree.Compiler)
	return tree.Watch(ctx, root, log, func() { reload(root, compiler, published, log) })
}

func reload(root string, compiler *tree.Compiler, published *Publication, log zerolog.Logger) {
	began := time.Now()
	read, err := tree.Read(root)
	if errors.Is(err, tree.ErrChanging) {
		return // it is called again when the tree is quiet
	}
	var blobs map[string]*tree.Blob
	if err == nil {
		blobs, err = compiler.Compile(read)
	}
	if err != nil {
		lines := problems(err)
		published.Reject(lines, began)
		for _, line := range lines {
			log.Error().Msg("the tree is broken: " + line)
		}
		log.Error().Int("problems", len(lines)).Msg("the tree is broken: what was published before stays")
		return
	}
	changed, err := published.Publish(read, blobs, began)
	if err != nil {
		published.Reject(problems(err), began)
		log.Error().Err(err).Msg("the tree is good but could not be published: what was published before stays")
		return
	}
	log.Info().Str("revision", read.Revision).Int("containers", len(blobs)).Int("changed", changed).
		Dur("took", time.Since(began)).Msg("tree published")
}

// problems is one string for each thing that is wrong.
func problems(err error) []string {
	if list, ok := errors.AsType[bundle.Problems](err); ok {
		return list.Lines()
	}
	return strings.Split(err.Error(), "\n")
}
