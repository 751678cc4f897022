// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestParseLoss: a loss is read as it was written, and nothing is made of a part of one.
func TestParseLoss(t *testing.T) {
	at := time.Unix(1795296000, 123456789)
	var want Loss
	want.Add(ReasonQuota, parse.Error, 100, at)
	want.Add(ReasonQuota, 0, 1<<30, at.Add(time.Second))
	want.AddBytes(ReasonRestart, 1<<40, at.Add(time.Hour))
	text := want.Append(nil)
	got, ok := ParseLoss(append(text, 7))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Loss{}), cmpopts.EquateApproxTime(0)); diff != "" || !ok {
		t.Error(ok, diff)
	}
	for n := range text {
		if got, ok := ParseLoss(text[:n]); ok || !got.None() {
			t.Errorf("of %d bytes: %+v", n, got)
		}
	}
}
