// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "strings"

// reserved says whether a key of a line would pass for something that only the
// hubs may say: a field of the event, or an attribute of its resource.
func reserved(key string) bool {
	switch key {
	case "time", "level", "message", "observed_time", "severity_text", "trace_id", "span_id", "event_name":
		return true
	}
	for _, prefix := range []string{"service.", "host.", "container.", "log.", "hub.", "cloud4.", "app.", "telemetry."} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
