// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"math"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// splitPerfdata takes the output of a Nagios plugin apart (Monitoring Plugins Development Guidelines, "Performance data"):
//
//	DISK OK - free space: / 3326 MB | /=2643MB;5948;5958;0;5968 'inodes used'=12%;80;90
//	more text
//	last line of text | /boot=68MB;88;93;0;98
//	/home=69357MB;253404;253409;0;253414
//
// text is what stands before the bars. Values that are not written as the guidelines say are left out, as are those beyond
// health.MaxValues. What is measured in a multiple of seconds or bytes, or in percent, becomes seconds, bytes and parts of one.
func splitPerfdata(output string) (text string, values []health.Value) {
	first, rest, _ := strings.Cut(output, "\n")
	text, perf, _ := strings.Cut(first, "|")
	long, more, _ := strings.Cut(rest, "|")
	if long != "" {
		text += "\n" + long
	}
	values = appendPerfdata(nil, perf)
	return text, appendPerfdata(values, more)
}

// appendPerfdata adds the values of a text of 'label'=value[UOM];[warn];[crit];[min];[max], with space between them.
func appendPerfdata(values []health.Value, text string) []health.Value {
	for len(values) < health.MaxValues {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			break
		}
		label, rest, ok := cutLabel(text)
		if !ok {
			_, text, _ = cutSpace(text) // what this is cannot be told: on with the next word
			continue
		}
		var datum string
		datum, text, _ = cutSpace(rest)
		if v, ok := parseDatum(label, datum); ok && !named(values, v.Name) {
			values = append(values, v)
		}
	}
	return values
}

func named(values []health.Value, name string) bool {
	for _, v := range values {
		if v.Name == name {
			return true
		}
	}
	return false
}

func cutSpace(s string) (before, rest string, found bool) {
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// cutLabel takes the label and the equals sign after it. In quotes it may hold space and equals signs, and a quote is
// written twice.
func cutLabel(s string) (label, rest string, ok bool) {
	if s[0] != '\'' {
		word, _, _ := cutSpace(s)
		label, _, ok = strings.Cut(word, "=")
		if !ok || label == "" {
			return "", "", false
		}
		return label, s[len(label)+1:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			rest, ok = strings.CutPrefix(s[i+1:], "=")
			return b.String(), rest, ok
		}
	}
	return "", "", false
}

// parseDatum reads value[UOM];[warn];[crit];[min];[max]. A value "U" says that it could not be found out.
func parseDatum(label, datum string) (v health.Value, ok bool) {
	fields := strings.Split(datum, ";")
	unitAt := len(fields[0])
	if i := strings.IndexFunc(fields[0], func(r rune) bool { return !strings.ContainsRune("0123456789.+-eE", r) }); i >= 0 {
		unitAt = i
	}
	number, ok := parseNumber(fields[0][:unitAt])
	if v.Name = foldName(label); !ok || v.Name == "" {
		return v, false
	}
	unit, factor, ok := foldUnit(fields[0][unitAt:])
	if !ok {
		return v, false
	}
	v.Unit, v.Value = unit, number*factor
	if len(fields) > 1 {
		v.Warn = parseRange(fields[1], factor)
	}
	if len(fields) > 2 {
		v.Fail = parseRange(fields[2], factor)
	}
	return v, !math.IsInf(v.Value, 0)
}

// parseNumber reads a finite decimal number.
func parseNumber(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && s != "" && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// parseRange gives from where on a range alerts, if that is upwards: "10" and "~:10" and "5:10" from 10 on, "@10:" too. nil: nowhere, or
// downwards, or between two numbers, which a single one cannot tell.
func parseRange(s string, factor float64) *float64 {
	inside := strings.HasPrefix(s, "@")
	low, high, two := strings.Cut(strings.TrimPrefix(s, "@"), ":")
	if !two {
		low, high = "0", low
	}
	limit := high
	if inside {
		if two && high == "" {
			limit = low
		} else {
			return nil
		}
	}
	f, ok := parseNumber(limit)
	if f *= factor; !ok || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// foldUnit brings a unit of measurement to ours. Plugins count in powers of 1024 whatever they call them.
func foldUnit(uom string) (unit string, factor float64, ok bool) {
	switch uom {
	case "":
		return "", 1, true
	case "s":
		return "s", 1, true
	case "ms":
		return "s", 1e-3, true
	case "us", "µs":
		return "s", 1e-6, true
	case "ns":
		return "s", 1e-9, true
	case "%":
		return "1", 1e-2, true
	case "c":
		return "c", 1, true
	}
	if prefix, isBytes := strings.CutSuffix(uom, "B"); isBytes {
		prefix = strings.TrimSuffix(prefix, "i")
		if i := strings.Index(" KMGTPE", strings.ToUpper(prefix)); prefix == "" || len(prefix) == 1 && i > 0 {
			return "By", math.Pow(1024, float64(max(i, 0))), true
		}
	}
	return uom, 1, len(uom) <= health.MaxUnit && health.CleanText(uom) == uom
}

// foldName makes a label a name of a value: lower case, with an underscore for each run of what a name cannot hold.
func foldName(label string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(label) {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("./-", r) {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('_')
			gap = false
		}
		if b.Len() >= health.MaxCheckName {
			break
		}
		b.WriteRune(r)
	}
	return b.String()[:min(b.Len(), health.MaxCheckName)]
}
