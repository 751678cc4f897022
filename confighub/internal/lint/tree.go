// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/spiffe"
)

// Tree lints what every placed container of a tree gets. What is of use to one of them is used.
func Tree(t *tree.Tree, o Options, source Source) ([]Finding, error) {
	l := newLinter(o)
	var broken []Finding
	for _, name := range t.Placed() {
		id, err := spiffe.ParseBundleName("lint.internal", name)
		if err != nil {
			return nil, err
		}
		b, err := t.Bundle(name)
		if problems, ok := Broken(err); ok {
			broken = append(broken, problems...)
			continue
		}
		if err != nil {
			return nil, err
		}
		l.bundle(b, id)
	}
	if len(broken) > 0 {
		// Nobody knows what these use.
		clear(l.data)
		clear(l.templates)
	}
	for _, f := range broken {
		l.found[f] = true
	}
	for _, dir := range t.Unplaced() {
		l.report(Place{File: dir}, Warning, "unplaced", "place it in a hosts/<host>/host.json, or take the directory away", "is a layer that no container has")
	}
	return l.findings(source), nil
}
