// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "cloud4.internal/hub/internal/otlp"

// format is one way to write a line.
type format struct {
	name string
	doc  string // one line for people
	// begins are all ways in which a line of it can begin; zero: any.
	begins shape
	// traces says that trace and span ids may stand anywhere in the line.
	traces bool
	// open says that lines name attributes themselves, besides names.
	open bool
	// names are the attributes it makes.
	names []string
	// read fills rec if line is of this format; false may leave rec half filled.
	read func(p *Parser, line []byte, rec *otlp.Record) bool
	// id is its place in the list.
	id int
}

// formats are all there are, in the order in which a line of unknown format is tried by them: a format that is easily taken
// for another comes before it, and text, which reads every line, last. What took the last line that began like this one is
// tried first, so a line must never be of two formats: TestFormatsExclude holds that for every line of the corpus.
var formats = numbered([]*format{
	{
		name: "json", doc: "one JSON object: zerolog, zap, slog, logrus, pino, structlog, log4j2, ECS, Caddy and whatever writes like them",
		begins: brace, open: true, read: (*Parser).json,
	},
	{
		name: "nginx-error", doc: "the error log of nginx",
		begins: slashDate, read: (*Parser).nginxError,
		names: []string{"process.pid", "thread.id", "nginx.connection", "client.address"},
	},
	{
		name: "redis", doc: "Redis and Valkey",
		begins: digit, read: (*Parser).redis,
		names: []string{"process.pid", "redis.role"},
	},
	{
		name: "access", doc: "common and combined log format: nginx, Apache and others",
		begins: digit | word | other, read: (*Parser).access,
		names: []string{
			"client.address", "user.name", "http.request.method", "url.path", "url.query", "network.protocol.version",
			"http.response.status_code", "http.response.body.size", "http.request.header.referer", "user_agent.original",
			"http.request.original",
		},
	},
	{name: "text", doc: "anything else: the line as it is, with a time and a level where they are found", traces: true, read: (*Parser).text},
})

func numbered(list []*format) []*format {
	for i, f := range list {
		f.id = i
	}
	return list
}

// fallback reads what no other format does.
func fallback() *format { return formats[len(formats)-1] }

// Description is what there is to tell of a format.
type Description struct {
	Name  string
	Doc   string   // one line
	Open  bool     // lines name attributes themselves, besides Names
	Names []string // attributes it makes
}

// Describe describes all formats.
func Describe() []Description {
	out := make([]Description, len(formats))
	for i, f := range formats {
		out[i] = Description{f.name, f.doc, f.open, f.names}
	}
	return out
}

// Formats names all formats.
func Formats() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.name
	}
	return names
}
