// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "strings"

// reserved says whether a key of a line would pass for something that only the
// hubs may say: a field of the event, or an attribute of its resource.
func reserved(key string) bool {
	if key == "" {
		return false
	}
	switch key[0] { // few keys get further
	case 'a':
		return strings.HasPrefix(key, "app.")
	case 'c':
		return strings.HasPrefix(key, "container.") || strings.HasPrefix(key, "cloud4.")
	case 'e':
		return key == "event_name"
	case 'h':
		return strings.HasPrefix(key, "host.") || strings.HasPrefix(key, "hub.")
	case 'l':
		return key == "level" || strings.HasPrefix(key, "log.")
	case 'm':
		return key == "message"
	case 'o':
		return key == "observed_time"
	case 's':
		return key == "severity_text" || key == "span_id" || strings.HasPrefix(key, "service.")
	case 't':
		return key == "time" || key == "trace_id" || strings.HasPrefix(key, "telemetry.")
	}
	return false
}
