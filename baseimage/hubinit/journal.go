// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// journal writes hubinit's own messages: one JSON line each with the keys the
// hubs use (level, time, program, message, then facts), or text for people when
// stderr is a terminal. It hands lines to a sink and so never waits.
type journal struct {
	out  *sink
	text bool
}

// info, warn and error take a constant message and facts as key, value, key, value.
func (j *journal) info(message string, facts ...any)  { j.say("info", message, facts) }
func (j *journal) warn(message string, facts ...any)  { j.say("warn", message, facts) }
func (j *journal) error(message string, facts ...any) { j.say("error", message, facts) }

func (j *journal) say(level, message string, facts []any) {
	now := time.Now().UTC()
	if j.text {
		j.out.put([]byte(textLine(now, level, message, facts)))
		return
	}
	line := make([]byte, 0, 256)
	line = append(line, `{"level":`...)
	line = appendJSON(line, level)
	line = append(line, `,"time":`...)
	line = appendJSON(line, now.Format("2006-01-02T15:04:05.000Z07:00"))
	line = append(line, `,"program":"hubinit","message":`...)
	line = appendJSON(line, message)
	for i := 0; i+1 < len(facts); i += 2 {
		line = append(line, ',')
		line = appendJSON(line, facts[i])
		line = append(line, ':')
		line = appendJSON(line, facts[i+1])
	}
	j.out.put(append(line, '}', '\n'))
}

func textLine(now time.Time, level, message string, facts []any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s hubinit: %s", now.Local().Format("15:04:05"), strings.ToUpper(level[:1])+level[1:], message)
	for i := 0; i+1 < len(facts); i += 2 {
		fmt.Fprintf(&b, " %v=%v", facts[i], facts[i+1])
	}
	// A terminal that the service left in raw mode needs the carriage return.
	return b.String() + "\r\n"
}

func appendJSON(line []byte, v any) []byte {
	switch x := v.(type) {
	case error:
		v = x.Error()
	case fmt.Stringer:
		v = x.String()
	}
	data, err := json.Marshal(v)
	if err != nil {
		data, _ = json.Marshal(fmt.Sprint(v))
	}
	return append(line, data...)
}
