// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/initctl"
)

// endedItself begins the mark in the history of a container whose service ended though nobody told it to. The engine starts
// such a container again and again, and each life knows of those before it by the history in the state volume alone.
const endedItself = "the service ended by itself"

// noteEnd notes, when healthhub is stopped, that it is because of that.
func (a *Agent) noteEnd() {
	if a.Settings.Job.Every > 0 || !a.Init.Supervised() {
		return
	}
	s, err := initctl.ReadState(a.RunDir)
	if err != nil || s.ExitCode == nil || s.ToldToStop() {
		return
	}
	text := endedItself
	if last := s.Service.LastExit; last != nil {
		text += ":" + exitWords(last)
	}
	a.recorder.Mark(text, time.Now())
}

// earlierEnds are the times of those that may still count.
func earlierEnds(r *record.Recorder, now time.Time) (ends []time.Time) {
	for _, e := range r.Query("", now.Add(-rollup.RestartWindow), 0) {
		if e.Kind == record.KindMark && strings.HasPrefix(e.Text, endedItself) {
			ends = append(ends, e.At)
		}
	}
	return ends
}
