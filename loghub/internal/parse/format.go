// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "cloud4.internal/hub/internal/otlp"

// format is one way to write a line.
type format struct {
	name string
	// read fills rec if line is of this format; false may leave rec half filled.
	read func(p *Parser, line []byte, rec *otlp.Record) bool
}

// formats are all there are, in the order in which a line of unknown format is tried by them: a format that is easily taken
// for another comes before it, and text, which reads every line, last.
var formats = []format{
	{"json", (*Parser).json},
	{"nginx-error", (*Parser).nginxError},
	{"redis", (*Parser).redis},
	{"access", (*Parser).access},
	{"text", (*Parser).text},
}

// Formats names all formats.
func Formats() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.name
	}
	return names
}
