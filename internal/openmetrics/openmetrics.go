// SPDX-License-Identifier: AGPL-3.0-or-later

// Package openmetrics writes measurements in the text form of OpenMetrics 1.0, which Prometheus and its like read.
//
//	var d openmetrics.Document
//	d.Family("confighub_requests", openmetrics.Counter, "Requests, by status.")
//	d.Sample(12, "status", "200")
//	w.Write(d.Bytes())
//
// Left out: histograms, summaries, exemplars, timestamps.
package openmetrics

import (
	"bytes"
	"strconv"
	"strings"
)

// ContentType is of the document.
const ContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

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
	text bytes.Buffer
	name string // of the samples that follow
}

// Family begins the family that the next samples belong to. Each name comes once.
func (d *Document) Family(name string, kind Kind, help string) {
	d.name = name + suffixes[kind]
	d.text.WriteString("# TYPE " + name + " " + string(kind) + "\n# HELP " + name + " " + escape(help) + "\n")
}

// Sample adds a value with labels, given as name, value, name, value.
func (d *Document) Sample(value float64, labels ...string) {
	d.text.WriteString(d.name)
	for i := 0; i+1 < len(labels); i += 2 {
		opening := ","
		if i == 0 {
			opening = "{"
		}
		d.text.WriteString(opening + labels[i] + `="` + escape(labels[i+1]) + `"`)
	}
	if len(labels) > 1 {
		d.text.WriteByte('}')
	}
	d.text.WriteString(" " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
}

// escaped is how characters of label values and help texts are written (section "Escaping").
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func escape(s string) string { return escaped.Replace(strings.ToValidUTF8(s, "\uFFFD")) }

// Bytes returns the whole document. No samples follow.
func (d *Document) Bytes() []byte {
	d.text.WriteString("# EOF\n")
	return d.text.Bytes()
}
