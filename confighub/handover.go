// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"slices"

	"cloud4.internal/hub/internal/initctl"
)

// handOver tells loghub what the service may be about to know, before any of it is where the service finds it. That loghub
// does not hide a value is no reason to keep a service from its configuration.
func (h *hub) handOver(secrets []initctl.Secret) {
	left, err := h.ctl.Secrets().Add(secrets)
	if err != nil {
		h.log.Warn().Err(err).Msg("loghub does not know of the values that were opened: it may show them")
	}
	if left = slices.Compact(left); len(left) > 0 && !slices.Equal(left, h.untold) {
		h.log.Warn().Strs("secrets", left).Msg("more or longer values than can be handed over: loghub may show these")
	}
	h.untold = left
}
