// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"cloud4.internal/hub/internal/mtls"
)

// What somebody who waits for it is kept waiting by a receiver that does not answer, or asks for time.
const (
	resendTries = 4
	resendPause = time.Second // after the first try, doubled
	resendMax   = 30 * time.Second
)

// Resend sends encoded records that do not come from a spool, and tells of each stretch i to j what became of it: refused is
// nil for what was acknowledged, and for a single record why it was not taken. Its error says why the others were not
// tried to their end. What may not have been kept (200, with some rejected) is sent again one by one.
func (s *Sender) Resend(ctx context.Context, records [][]byte, told func(i, j int, refused error)) error {
	return s.resend(ctx, records, 0, len(records), told)
}

func (s *Sender) resend(ctx context.Context, records [][]byte, i, j int, told func(i, j int, refused error)) error {
	v := s.insist(ctx, bytes.Join(records[i:j], nil))
	why := v.err
	switch {
	case v.kind == taken && v.doubt == nil:
		told(i, j, nil)
		return nil
	case v.kind == taken && errors.Is(v.doubt, errPage):
		return v.doubt
	case v.kind == taken:
		why = v.doubt
	case v.kind != poison:
		return errors.New(mtls.Explain(v.err))
	}
	if j-i == 1 {
		told(i, j, why)
		return nil
	}
	mid := i + (j-i)/2
	if err := s.resend(ctx, records, i, mid, told); err != nil {
		return err
	}
	return s.resend(ctx, records, mid, j, told)
}

// insist makes a request, and again where the receiver may take it another time.
func (s *Sender) insist(ctx context.Context, records []byte) verdict {
	wait := resendPause
	for try := 1; ; try++ {
		v := s.attempt(ctx, records)
		pause := max(v.after, wait/2+rand.N(wait))
		if v.kind != retry || try == resendTries || pause > resendMax || ctx.Err() != nil || !sleep(ctx, pause) {
			return v
		}
		wait *= 2
	}
}
