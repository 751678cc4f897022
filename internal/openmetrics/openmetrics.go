// SPDX-License-Identifier: AGPL-3.0-or-later

// Package openmetrics writes measurements in the text form of OpenMetrics 1.0, which Prometheus and its like read.
//
//	var d openmetrics.Document
//	d.Family("confighub_requests", openmetrics.Counter, "Requests, by status.")
//	d.Sample(12, "status", "200")
//	d.WriteTo(w)
//
// Left out: histograms, summaries, exemplars, timestamps.
package openmetrics

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// ContentType is of the document.
const ContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

// Kind is a type of metric.
type Kind string

// The kinds that a document can hold. Counters and infos have names without _total and _info, which their samples get.
const (
	Gauge   Kind = "gauge"
	Counter Kind = "counter"
	Info    Kind = "info"
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

// escape is for label values and help texts (section "Escaping").
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

// WriteTo writes the document.
func (d *Document) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(append(d.text.Bytes(), "# EOF\n"...))
	return int64(n), err
}
