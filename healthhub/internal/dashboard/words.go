// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// plural is "1 container", "12 containers".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return number(n) + " " + word + "s"
}

// number writes thousands apart: 10 000.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u00a0" + s[i:]
	}
	return s
}

// remark is a flag as people read it.
type remark struct {
	Word string // on the page
	Why  string // in full
}

// flagWords explains flags; those of a check's nature (critical, live, info, started) stand elsewhere.
var flagWords = map[string]remark{
	health.FlagStale:       {"stale", "Nothing was heard of it for too long. What is shown is the last that was seen."},
	health.FlagMissing:     {"missing", "It is expected here, but it is not there."},
	health.FlagUnexpected:  {"unexpected", "It is there, but nobody expects it; it counts for nothing."},
	health.FlagUnchecked:   {"unchecked", "It runs, but nothing looks into it."},
	health.FlagStopping:    {"stopping", "It said goodbye and is on its way down."},
	health.FlagFlapping:    {"flapping", "It changes its mind too often; the worst of its last looks is shown."},
	health.FlagMuted:       {"muted", "Somebody said that it is known; it does not count for now."},
	health.FlagPaused:      {"paused", "Somebody paused it."},
	health.FlagForced:      {"forced", "Its state is forced, to try out whether that is noticed. It is not what was seen."},
	health.FlagForked:      {"forked", "Two instances report under this one name, in turns; the worse is shown."},
	health.FlagIsolated:    {"isolated", "So many went silent at once that rather the one who looks is cut off."},
	health.FlagUnsupported: {"unsupported", "This cannot be looked at here; it says nothing and counts for nothing."},
}

// flagKeys explains flags that say whom or how many.
var flagKeys = map[string]remark{
	health.FlagSuppressedBy: {"because of %s", "It depends on %s, which is in trouble itself: look there first."},
	health.FlagGrouped:      {"in group %s", "It is one of several in group %s, and counts through that alone."},
	health.FlagMutes:        {"%s muted", "Of what it is made of, %s do not count for now."},
}

// natures are what a check is, which no page needs to shout.
var natures = map[string]string{
	health.FlagCritical: "critical: its failure is that of what is above it",
	health.FlagInfo:     "for information: it never touches what is above it",
	health.FlagLive:     "live: when it fails, a restart would help",
	health.FlagStarted:  "started: it counts until its first pass",

	health.FlagDegrading:    "degrading: its failure is but a warning for what is above it",
	health.FlagPartStarting: "a part of it is starting",
}

func flagsOf(n *health.Node) (flags []remark) {
	for _, name := range n.Flags {
		key, value, _ := strings.Cut(name, "=")
		if word, ok := flagKeys[key+"="]; ok {
			flags = append(flags, remark{fmt.Sprintf(word.Word, value), fmt.Sprintf(word.Why, value)})
		} else if f, ok := flagWords[name]; ok {
			flags = append(flags, f)
		} else if natures[name] == "" {
			flags = append(flags, remark{Word: name}) // of a newer agent
		}
	}
	return flags
}

// words are remarks in a row.
func words(remarks []remark) string {
	out := make([]string, len(remarks))
	for i, r := range remarks {
		out[i] = r.Word
	}
	return strings.Join(out, ", ")
}

func naturesOf(n *health.Node) (words []string) {
	for _, name := range n.Flags {
		if word := natures[name]; word != "" {
			words = append(words, word)
		}
	}
	if n.Kind == health.KindCheck && !n.HasFlag(health.FlagDegrading) && !n.HasFlag(health.FlagCritical) &&
		!n.HasFlag(health.FlagInfo) {
		words = append(words, "degrading: its failure is a warning for what is above it")
	}
	return words
}

// value is what a check measured.
type value struct {
	Name, Text, Limits string
	Bar                *bar
}

// bar is a value between nothing and its limit, in percent.
type bar struct {
	State            string
	Full, Warn, Fail float64 // Warn, Fail: 0: no mark
}

func valuesOf(n *health.Node) (values []value) {
	for _, v := range n.Values {
		out := value{Name: v.Name, Text: quantity(v.Value, v.Unit)}
		var limits []string
		if v.Warn != nil {
			limits = append(limits, "warns at "+quantity(*v.Warn, v.Unit))
		}
		if v.Fail != nil {
			limits = append(limits, "fails at "+quantity(*v.Fail, v.Unit))
		}
		out.Limits, out.Bar = strings.Join(limits, ", "), barOf(v)
		values = append(values, out)
	}
	return values
}

// barOf draws parts of one, and what has a limit above zero.
func barOf(v health.Value) *bar {
	top := 0.0
	switch {
	case v.Unit == "1":
		top = 1
	case v.Fail != nil && *v.Fail > 0:
		top = *v.Fail * 1.25
	}
	if top == 0 || v.Value < 0 {
		return nil
	}
	percent := func(x float64) float64 { return math.Round(min(max(x/top*100, 0), 100)*10) / 10 }
	b := &bar{State: health.Pass.String(), Full: percent(v.Value)}
	// Above or below: whether a value is bad when it is low is told by which of the limits comes first.
	low := v.Warn != nil && v.Fail != nil && *v.Fail < *v.Warn
	beyond := func(limit float64) bool { return v.Value >= limit && !low || v.Value <= limit && low }
	if v.Warn != nil {
		if b.Warn = percent(*v.Warn); beyond(*v.Warn) {
			b.State = health.Warn.String()
		}
	}
	if v.Fail != nil {
		if b.Fail = percent(*v.Fail); beyond(*v.Fail) {
			b.State = health.Fail.String()
		}
	}
	return b
}

// quantity writes a measured value to three digits.
func quantity(x float64, unit string) string {
	short := func(x float64) string {
		if math.Abs(x) >= 100 {
			return strconv.FormatFloat(x, 'f', 0, 64)
		}
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	switch unit {
	case "s":
		return seconds(x)
	case "By":
		for _, u := range []string{"B", "KiB", "MiB", "GiB"} {
			if math.Abs(x) < 1024 {
				return short(x) + " " + u
			}
			x /= 1024
		}
		return short(x) + " TiB"
	case "1":
		return short(x*100) + " %"
	case "%":
		return short(x) + " %"
	case "Cel":
		return short(x) + " °C"
	case "", "c":
		return short(x)
	}
	return short(x) + " " + unit
}

// seconds writes how long something took.
func seconds(x float64) string {
	switch {
	case x == 0:
		return "0 s"
	case x < 1e-3:
		return fmt.Sprintf("%.0f µs", x*1e6)
	case x < 1:
		return fmt.Sprintf("%.3g ms", x*1e3)
	case x < 120:
		return fmt.Sprintf("%.3g s", x)
	case x < 2*60*60:
		return fmt.Sprintf("%.0f min", x/60)
	case x < 48*60*60:
		return fmt.Sprintf("%.0f h", x/60/60)
	}
	return fmt.Sprintf("%.0f d", x/24/60/60)
}

// The icon in the tab: the state's sign, in a colour that is seen on light and dark.
var iconShapes = map[health.State]string{
	health.Pass:     `<circle cx="8" cy="8" r="8" fill="#1f9d5b"/><path d="m4.5 8.3 2.5 2.5 4.7-5" stroke="#fff" stroke-width="2" fill="none"/>`,
	health.Starting: `<circle cx="8" cy="8" r="8" fill="#3b7de0"/><path d="M4 8h.1M8 8h.1M12 8h.1" stroke="#fff" stroke-width="2.4" stroke-linecap="round"/>`,
	health.Warn:     `<path d="M8 0 16 15H0z" fill="#d9860a"/><path d="M8 5v5M8 12.4v.1" stroke="#fff" stroke-width="2" stroke-linecap="round"/>`,
	health.Unknown: `<rect x="2.3" y="2.3" width="11.4" height="11.4" rx="1.5" transform="rotate(45 8 8)" fill="#78828f"/>` +
		`<path d="M6 6.3a2 2 0 1 1 2 2.4M8 11.6v.1" stroke="#fff" stroke-width="1.7" fill="none" stroke-linecap="round"/>`,
	health.Fail: `<path d="M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7z" fill="#d6303d"/><path d="m5 5 6 6m0-6-6 6" stroke="#fff" stroke-width="2"/>`,
}

// icon is made of the constants above alone.
func icon(s health.State) template.URL {
	return template.URL("data:image/svg+xml," + url.PathEscape(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">`+iconShapes[s]+`</svg>`))
}

// marks stand for states where there is only text: in the title.
var marks = map[health.State]string{
	health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕",
}
