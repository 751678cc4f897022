// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/medium"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
)

// certificateSoon is when a certificate that was not renewed is worth a word: it is renewed at half of its lifetime.
const certificateSoon = time.Hour

// examine says how things stand besides the ways that lines take.
func examine(f facts, now time.Time) []finding {
	var out []finding
	if f.TLS {
		out = append(out, identityFinding(f, now))
	}
	out = append(out, receiverFinding(f))
	if c := clockFinding(f); c != nil {
		out = append(out, *c)
	}
	if sp := f.Log.Spool; sp != nil {
		out = append(out, spoolFinding(sp), durableFinding(f))
		waiting, err := sink.CountLetters(spoolOf(f.Log))
		out = append(out, lettersFinding(f.Log.Sender, waiting, err))
	}
	out = append(out, filesFinding(f.Log), lossFinding(f.Log))
	if f.Log.Masked != nil {
		out = append(out, secretsFinding(f.Log))
	}
	return out
}

// spoolOf is the directory of the spool that a section tells of; "": it is in memory.
func spoolOf(s section) string {
	if strings.HasPrefix(s.Where, "/") {
		return s.Where
	}
	return ""
}

func identityFinding(f facts, now time.Time) finding {
	const renewal = "see confighub status, which says why it is not renewed"
	left := f.Until.Sub(now)
	switch {
	case f.Identity == "":
		return finding{"identity", health.Fail, "there is none: this container is not enrolled",
			"see confighub status: a new container needs HUB_TOKEN, or a host that vouches for it"}
	case left <= 0:
		return finding{"identity", health.Fail, fmt.Sprintf("%s expired at %s", f.Identity, f.Until.UTC().Format(time.RFC3339)), renewal}
	case left < certificateSoon:
		return finding{"identity", health.Warn, fmt.Sprintf("%s ends in %s", f.Identity, left.Round(time.Second)), renewal}
	}
	return finding{"identity", health.Pass, fmt.Sprintf("%s until %s", f.Identity, f.Until.UTC().Format(time.RFC3339)), ""}
}

func spoolFinding(sp *spool.Stats) finding {
	wait := "wait"
	if sp.Backlog == 1 {
		wait = "waits"
	}
	out := finding{"spool", health.Pass, fmt.Sprintf("%s %s, %s of %s", counted(sp.Backlog, "event"), wait,
		terminal.Bytes(float64(sp.Bytes)), terminal.Bytes(float64(sp.Quota))), ""}
	switch full := fillOf(sp); {
	case sp.Trouble != "":
		out.State, out.Text = health.Warn, health.CleanText(sp.Trouble)
		out.Action = "see that its directory has room and can be written, or raise log.disk_per_day if that is spent"
	case full >= source.ShedDebug:
		out.State = health.Fail
		out.Action = "it sheds what is least important: see what is said of the receiver; log.quota gives more room"
	case full >= 0.5:
		out.State = health.Warn
		out.Action = "it fills: see what is said of the receiver; log.quota gives more room"
	case sp.Corrupt > 0:
		out.State = health.Warn
		out.Text = fmt.Sprintf("%s, %s skipped", counted(sp.Corrupt, "damaged place"), terminal.Bytes(float64(sp.Skipped)))
		out.Action = "look at the disk: dmesg on the host tells of its errors"
	}
	return out
}

// durableFinding says what the end of the container takes along.
func durableFinding(f facts) finding {
	out := finding{"durable", health.Pass, health.CleanText(f.Log.Durable), ""}
	dir := spoolOf(f.Log)
	switch lies := medium.Of(dir); {
	case dir == "" || f.Log.Spool.Mode == spool.InMemory:
		out.State = health.Warn
		out.Action = "mount a volume at /var/lib/hub; log.spool says where events wait"
	case lies.Layer || lies.Kind == medium.Memory:
		out.State = health.Warn
		out.Action = "mount a volume at /var/lib/hub"
	}
	return out
}

// filesFinding names patterns without files, and files that are not read. Compressed ones are what rotation leaves.
func filesFinding(s section) finding {
	var words []string
	for _, skip := range s.Skipped {
		if skip.Reason != "it is compressed" {
			words = append(words, skip.Path+": "+skip.Reason)
		}
	}
	if len(words) == 0 {
		return finding{"files", health.Pass, "all that log.files names are read", ""}
	}
	text := names(words)
	if s.SkippedMore > 0 {
		text += fmt.Sprintf(" and %d more", s.SkippedMore)
	}
	return finding{"files", health.Warn, text, "look at log.files: a pattern is an absolute path inside the container"}
}

func lossFinding(s section) finding {
	var lost, bytes int64
	for _, src := range s.Sources {
		lost += src.Lost
		bytes += src.LostBytes
	}
	switch {
	case lost > 0 || bytes > 0:
		return finding{"losses", health.Warn,
			fmt.Sprintf("%s, %s since the start", counted(lost, "line"), terminal.Bytes(float64(bytes))),
			"events hub.loss at the receiver say which and why; log.quota gives more room"}
	case s.Dropped > 0:
		return finding{"losses", health.Warn,
			terminal.Bytes(float64(s.Dropped)) + " are missing in the container's own output (docker logs), which took no more",
			"look at the log driver of the container; the receiver has them"}
	}
	return finding{"losses", health.Pass, "none since the start", ""}
}

func secretsFinding(s section) finding {
	if len(s.Masked.LeftOut) == 0 {
		return finding{"secrets", health.Pass, masked(s.Masked), ""}
	}
	return finding{"secrets", health.Warn, masked(s.Masked),
		"make them longer and unlike other words: what is written of these stands in the events"}
}
