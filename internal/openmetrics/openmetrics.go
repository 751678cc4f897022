// SPDX-License-Identifier: AGPL-3.0-or-later

// Package openmetrics writes measurements in the text form of OpenMetrics 1.0, which Prometheus and its like read, or, for
// what reads no other, in the older text form of Prometheus (version 0.0.4).
//
//	var d openmetrics.Document
//	d.Family("confighub_requests", openmetrics.Counter, "Requests, by status.")
//	d.Sample(12, "status", "200")
//	w.Write(d.Bytes())
//
// Left out: histograms, summaries, exemplars, timestamps, units.
package openmetrics

import (
	"bytes"
	"strconv"
	"strings"
)

// ContentType is of the document, PlainType of one in the older form.
const (
	ContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	PlainType   = "text/plain; version=0.0.4; charset=utf-8"
)

// Accepted reports whether a reader whose Accept header (RFC 9110 §12.5.1) is given asks for OpenMetrics. Prometheus does;
// what does not say so, as curl and promtool's check, gets the older form.
func Accepted(accept string) bool { return strings.Contains(accept, "application/openmetrics-text") }

// Kind is a type of metric.
type Kind string

// The kinds that a document can hold. Counters and infos have names without _total and _info, which their samples get. A
// state set has a sample for each state, 1 or 0, with the state in a label of the family's name.
const (
	Gauge    Kind = "gauge"
	Counter  Kind = "counter"
	Info     Kind = "info"
	StateSet Kind = "stateset"
)

var suffixes = map[Kind]string{Counter: "_total", Info: "_info"}

// Document is a set of families. The zero value is empty.
type Document struct {
	Plain bool // in the older form; set before anything is added

	text bytes.Buffer
	name string // of the samples that follow
}

// Family begins the family that the next samples belong to. Each name comes once.
func (d *Document) Family(name string, kind Kind, help string) {
	d.name = name + suffixes[kind]
	if d.Plain { // which has neither infos nor state sets, and names a counter as its samples
		name = d.name
		if kind != Counter {
			kind = Gauge
		}
	}
	d.text.WriteString("# TYPE " + name + " " + string(kind) + "\n# HELP " + name + " ")
	d.escape(help)
	d.text.WriteByte('\n')
}

// Sample adds a value with labels, given as name, value, name, value.
func (d *Document) Sample(value float64, labels ...string) {
	d.text.WriteString(d.name)
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			d.text.WriteByte('{')
		} else {
			d.text.WriteByte(',')
		}
		d.text.WriteString(labels[i])
		d.text.WriteString(`="`)
		d.escape(labels[i+1])
		d.text.WriteByte('"')
	}
	if len(labels) > 1 {
		d.text.WriteByte('}')
	}
	d.text.WriteByte(' ')
	d.text.Write(strconv.AppendFloat(d.text.AvailableBuffer(), value, 'f', -1, 64))
	d.text.WriteByte('\n')
}

// escaped is how characters of label values and help texts are written (section "Escaping").
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (d *Document) escape(s string) {
	escaped.WriteString(&d.text, strings.ToValidUTF8(s, "\uFFFD")) // a buffer takes everything
}

// Bytes returns the whole document. No samples follow.
func (d *Document) Bytes() []byte {
	if !d.Plain {
		d.text.WriteString("# EOF\n")
	}
	return d.text.Bytes()
}
