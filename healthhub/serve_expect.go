// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/spiffe"
)

// expectation is the file of what should be there, at the start and as it changes.
type expectation struct {
	path  string // "": none
	self  spiffe.ID
	first *manifest.List // nil: no list
	log   zerolog.Logger
}

func openExpectation(path string, self spiffe.ID, log zerolog.Logger) (*expectation, error) {
	e := &expectation{path: path, self: self, log: log}
	if path == "" {
		return e, nil
	}
	var err error
	e.first, err = manifest.Read(path, self)
	return e, err
}

func (e *expectation) count() int {
	if e.first == nil {
		return 0
	}
	return len(e.first.Names())
}

// tasks keep what the collector expects to what the file says.
func (e *expectation) tasks(c *collect.Collector) []daemon.Task {
	if e.path == "" {
		return nil
	}
	taken := func(list *manifest.List) {
		e.log.Info().Str("file", e.path).Int("expected", len(list.Names())).Msg("what is expected changed")
		c.Expect(list)
	}
	refused := func(err error) {
		c.Trouble("expect", err)
		if err == nil {
			e.log.Info().Str("file", e.path).Msg("what is expected can be read again")
			return
		}
		for _, line := range problemLines(err) {
			e.log.Warn().Str("reason", line).Msg("what is expected stays as it was: the new list is refused")
		}
	}
	return []daemon.Task{{Name: "watching what is expected", Run: func(ctx context.Context) error {
		return manifest.Watch(ctx, e.path, e.self, e.first, taken, refused)
	}}}
}

func problemLines(err error) []string {
	problems, ok := errors.AsType[hubfile.Problems](err)
	if !ok {
		return []string{err.Error()}
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return lines
}
