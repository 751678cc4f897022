// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import "cloud4.internal/hub/internal/health"

// Troubled counts the leaves at and below n that are warn or worse and count, members that a group misses among them. A mute breaks
// when it grows.
func Troubled(n *health.Node) int {
	switch {
	case n.Kind == health.KindGroup:
		return max(0, groupValue(n, ValueMembers)-groupValue(n, ValueWorking))
	case len(n.Children) == 0:
		if n.State >= health.Warn {
			return 1
		}
		return 0
	}
	count := 0
	for i := range n.Children {
		switch child := &n.Children[i]; {
		case marksOf(child).any(leftOut):
		case child.Kind == health.KindGroup: // its members are counted where they stand
			count += groupValue(child, valueAbsent)
		default:
			count += Troubled(child)
		}
	}
	return count
}
