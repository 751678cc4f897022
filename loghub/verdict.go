// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/spool"
)

// judge says what is wrong and what to do. Lost lines and a disk that takes nothing are said besides trouble with the receiver:
// they are what makes that dangerous. What is less than these is said alone.
func (p *report) judge(n *health.Node, s section, now time.Time) {
	var texts, actions []string
	say := func(text, action string) { texts, actions = append(texts, text), append(actions, action) }
	st, sp := s.Sender, s.Spool
	lost := !p.lostT.IsZero() && now.Sub(p.lostT) < lossShown
	switch {
	case st == nil:
	case st.Held:
		say("the receiver refuses logs: "+st.Error, "look at log.otlp, engine, otlp_path and headers, and at what the receiver says; "+waits(lost))
	case !st.OK && now.Sub(st.Since) >= troubleWait:
		say(fmt.Sprintf("logs wait in the spool since %s (%s): %s", st.Since.UTC().Format(time.RFC3339), counted(sp.Backlog, "event"), st.Error),
			p.away()+"; "+waits(lost))
	}
	if lost {
		say("log lines were lost in the last minutes; the events hub.loss say which and why",
			"where the spool was full, see that the receiver keeps up; log.quota gives more room to wait in, and the service may write less")
	}
	if sp != nil && sp.Trouble != "" {
		say(sp.Trouble, p.remedy(sp))
	}
	switch {
	case len(texts) > 0 || sp == nil:
	case sp.Spent && sp.Mode == spool.OnDisk:
		say(fmt.Sprintf("%d MB were written to the disk in 24 hours, more than log.disk_per_day", sp.WrittenToday/1e6),
			"let the service write less, let log.spool be memory-first, or log.disk_per_day be more")
	case sp.Bytes > sp.Quota*8/10:
		say(fmt.Sprintf("the spool is nearly full: %d of %d bytes", sp.Bytes, sp.Quota), "the receiver is too slow for what is written, or away")
	}
	if len(texts) > 0 {
		n.State, n.Text, n.Action = health.Warn, strings.Join(texts, "; "), strings.Join(actions, "; ")
	}
}

// waits is what becomes of logs while nobody takes them.
func waits(lost bool) string {
	if lost {
		return "what waits is sent when it is taken"
	}
	return "the logs are sent when they are taken, and none is lost until the spool is full"
}

// away is what to do about a receiver that cannot be reached.
func (p *report) away() string {
	if _, err := p.r.files.ID(); err != nil && p.r.to.shows() {
		return "see confighub status, which says why this container has no certificate to show"
	}
	return "see that the receiver (log.otlp) runs and is reachable from here"
}

// remedy is what to do about a spool that cannot be what it is to be.
func (p *report) remedy(sp *spool.Stats) string {
	if sp.Spent {
		return "see that the receiver takes what waits, or let log.disk_per_day be more; until then the end of the container may take what waits"
	}
	return "see that there is room and that it can be written in " + p.r.where + "; until then the end of the container takes what waits in memory"
}
