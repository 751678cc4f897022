// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"net/http"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
)

// judge says how a way fared, when nothing more is waited for.
func (w *way) judge(f facts, limit time.Duration) {
	var read, acked time.Duration
	reads, acks := 0, 0
	for _, b := range w.births {
		if b.uid != "" {
			w.UIDs = append(w.UIDs, b.uid)
			reads++
		}
		if b.acked > 0 {
			acks++
		}
		read, acked = max(read, b.read), max(acked, b.acked)
	}
	if reads > 0 && reads == len(w.births) {
		w.Read = seconds(read)
	}
	if acks > 0 && acks == len(w.births) {
		w.Acked = seconds(acked)
	}
	w.State = health.Fail
	switch {
	case w.absent:
		w.State = health.Unknown // its words are said
	case w.broken != "":
		w.Text, w.Action = w.broken, w.brokenAction(reads > 0, f)
	case w.begun.IsZero():
		w.Text, w.Action = "not tried: the file was not read", "see what is said of the file"
	case w.Acked != nil:
		w.State = health.Pass
	case w.Read == nil:
		w.Text, w.Action = w.unread(reads, f, limit)
	default:
		w.Text, w.Action = unacknowledged(f, limit)
	}
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// brokenAction is what to do about a way whose canary could not be sent, or was refused.
func (w *way) brokenAction(refused bool, f facts) string {
	switch {
	case refused:
		return "see what the receiver's log says of it; loghub replay sends it again"
	case w.kind == waySyslog:
		return "see that nothing else takes that path, or set log.syslog; docker logs says more"
	case w.kind == "":
		return "see whether the service runs; docker logs says more"
	}
	return "see that there is room in the run directory, and run this as loghub's user or root"
}

// fillOf is how much of its quota a spool has used, 0 to 1 and a little above; 0 where all that is there may go. nil: there is none.
func fillOf(sp *spool.Stats) float64 {
	if sp == nil || sp.Backlog == 0 {
		return 0
	}
	return max(float64(sp.Bytes)/float64(max(sp.Quota, 1)), float64(sp.InMemory)/float64(max(sp.MemoryQuota, 1)))
}

// unread tells of a canary that became no event.
func (w *way) unread(reads int, f facts, limit time.Duration) (text, action string) {
	fill := fillOf(f.Log.Spool)
	const room = "see what is said of the receiver: there is room when it takes what waits; log.quota gives more"
	file := w.kind == wayFile || w.kind == wayNew
	switch {
	case file && fill >= source.FilesStop:
		return fmt.Sprintf("not read: the spool is %.0f %% full, and files wait from %.0f %% on", 100*fill, 100*source.FilesStop), room
	case !file && fill >= source.ShedDebug:
		return fmt.Sprintf("let go: the spool is %.0f %% full, and what is as unimportant as a canary (debug) is shed from %.0f %% on",
			100*fill, 100*source.ShedDebug), room
	case w.kind == wayNew && reads == 1:
		return fmt.Sprintf("of the renamed file and the new one, one was not read within %s", limit),
			"docker logs of loghub say more; this is a defect, please report it"
	}
	return fmt.Sprintf("no event was made of it within %s", limit),
		"see whether the machine is overloaded, and what docker logs say of loghub"
}

// unacknowledged tells of an event that waits.
func unacknowledged(f facts, limit time.Duration) (text, action string) {
	st, sp := f.Log.Sender, f.Log.Spool
	if st == nil || sp == nil {
		return "there is no receiver", "set log.otlp"
	}
	if !st.OK {
		return "it waits in the spool: see receiver", ""
	}
	return fmt.Sprintf("it waits with %s, after %s: the receiver takes them slowly", counted(sp.Backlog, "event"), limit),
		"give it time with --timeout; loghub status --watch shows whether fewer wait"
}

// receiverAction is what to do about a receiver that takes nothing.
func receiverAction(f facts) string {
	st := f.Log.Sender
	switch code := st.Code; {
	case f.TLS && f.Identity == "":
		return "see confighub status: a new container needs HUB_TOKEN, or a host that vouches for it"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		who := "without a certificate"
		if f.Identity != "" {
			who = "as " + f.Identity
		}
		return "the receiver must let this container in, which comes " + who +
			"; its log says more, and log.headers holds a token, if it wants one"
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		return "nothing takes logs at that path: set log.engine to what stands there, or log.otlp_path"
	case code/100 == 3:
		return "set log.otlp to the address that is meant"
	case code == http.StatusTooManyRequests || code >= 500:
		return "the receiver has too much to do, or trouble of its own: its log says more. Logs wait meanwhile"
	case code != 0:
		return "the receiver refuses whatever it is sent: is log.engine what stands there?"
	}
	return "see that log.otlp names it, that it runs, and that it is reachable from here; logs wait meanwhile"
}

// finding is something that a doctor looks at besides.
type finding struct {
	What   string       `json:"what"`
	State  health.State `json:"state"`
	Text   string       `json:"text"`
	Action string       `json:"action,omitempty"`
}

// clockApart is from which difference on times cannot be compared.
const clockApart = 2 * time.Second

// receiverFinding says whether the receiver takes logs, and what its clock shows.
func receiverFinding(f facts) finding {
	out := finding{What: "receiver", State: health.Pass, Text: f.Log.Receiver}
	st := f.Log.Sender
	switch {
	case st == nil:
		return finding{"receiver", health.Fail, "there is none: events are only copied to the container's output",
			"set log.otlp, as in \"https://genesis.internal:4318\""}
	case st.Held:
		out.State, out.Text = health.Fail, f.Log.Receiver+" refuses logs: "+health.CleanText(st.Error)
		out.Action = receiverAction(f)
	case !st.OK:
		out.State, out.Text = health.Fail, f.Log.Receiver+" takes none: "+health.CleanText(st.Error)
		out.Action = receiverAction(f)
	case st.Rejected > 0:
		out.State = health.Warn
		out.Text = fmt.Sprintf("%s has not kept %s of those it took", f.Log.Receiver, counted(st.Rejected, "event"))
		out.Action = "its own limits say why, such as the age or the size of an event; docker logs of loghub quote it"
	}
	return out
}

// clockFinding compares the two clocks; nil: the receiver has not said the time.
func clockFinding(f facts) *finding {
	if f.Clock == nil {
		return nil
	}
	ahead := time.Duration(*f.Clock * float64(time.Second))
	if ahead.Abs() < clockApart {
		return &finding{"clock", health.Pass, "as the receiver's, within " + (clockApart).String(), ""}
	}
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	return &finding{"clock", health.Warn,
		fmt.Sprintf("the receiver's clock is %s %s this machine's", ahead.Abs().Round(time.Second), word),
		"let NTP keep both right: events stand at the wrong time there, and certificates may be refused"}
}

// lettersFinding tells of records that the receiver refused.
func lettersFinding(st *sink.State, waiting int, err error) finding {
	switch {
	case err != nil:
		return finding{"refused", health.Unknown, "cannot be counted: " + err.Error(), "run this as loghub's user or root"}
	case waiting > 0:
		return finding{"refused", health.Warn, counted(waiting, "dead letter") + " that the receiver refused",
			"loghub replay --list shows why, loghub replay sends them again"}
	case st != nil && st.DeadLost > 0:
		return finding{"refused", health.Warn,
			fmt.Sprintf("%s since the start, not kept: the spool is in memory", counted(st.DeadLost, "event")),
			"the loss events at the receiver say which"}
	}
	return finding{"refused", health.Pass, "none", ""}
}
