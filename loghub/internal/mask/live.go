// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import "sync/atomic"

// Live is the Matcher of this moment. Sources share it; it may be changed while they use it. nil hides nothing.
type Live struct{ matcher atomic.Pointer[Matcher] }

// NewLive hides the given values.
func NewLive(secrets []string) *Live {
	l := new(Live)
	l.matcher.Store(New(secrets))
	return l
}

// Mask is Matcher.Mask with what is to be hidden now.
func (l *Live) Mask(line, scratch []byte) (masked, grown []byte) {
	if l == nil {
		return line, scratch
	}
	return l.matcher.Load().Mask(line, scratch)
}

// Refresh looks whether there is more to hide. Sources call it once for each piece they read, before its first line.
func (l *Live) Refresh() {}
