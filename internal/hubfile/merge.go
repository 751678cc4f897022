// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import "slices"

// merge applies a drop-in to what is below it, MergePatch of RFC 7396 §2, in which each value keeps its place.
// An object that both have keeps the place of the first. Neither argument is changed; target may be nil.
func merge(target, patch *node) *node {
	if patch.kind != kindObject {
		return patch
	}
	out := &node{kind: kindObject, at: patch.at}
	if target != nil && target.kind == kindObject {
		out.at = target.at
		out.members = slices.Clone(target.members)
	}
	index := make(map[string]int, len(out.members)) // name → index in out.members
	for i, m := range out.members {
		index[m.name] = i
	}
	removed := 0
	for _, m := range patch.members {
		i, ok := index[m.name]
		switch {
		case m.value.kind == kindNull && ok:
			out.members[i].value = nil
			removed++
		case m.value.kind == kindNull:
		case ok:
			out.members[i].value = merge(out.members[i].value, m.value)
		default:
			index[m.name] = len(out.members)
			out.members = append(out.members, member{m.name, merge(nil, m.value)})
		}
	}
	if removed > 0 {
		out.members = slices.DeleteFunc(out.members, func(m member) bool { return m.value == nil })
	}
	return out
}
