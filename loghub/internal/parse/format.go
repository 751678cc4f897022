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
		name: "json", doc: "one JSON object: zerolog, zap, slog, logrus, pino, structlog, log4j2, ECS and whatever writes like them; " +
			"Caddy's access log gets the attributes named here",
		begins: brace, open: true, read: (*Parser).json,
		names: caddyNames,
	},
	{
		name: "nginx-error", doc: "the error log of nginx",
		begins: slashDate, read: (*Parser).nginxError,
		names: []string{
			"process.pid", "thread.id", "nginx.connection", "nginx.upstream", "client.address", "server.address", "server.port",
			"http.request.method", "url.path", "url.query",
			"network.protocol.version", "http.request.header.referer",
		},
	},
	{
		name: "apache-error", doc: "the error log of Apache",
		begins: bracket, read: (*Parser).apacheError,
		names: []string{"apache.module", "apache.code", "process.pid", "thread.id", "client.address", "client.port",
			"http.request.header.referer"},
	},
	{
		name: "redis", doc: "Redis and Valkey",
		begins: digit, read: (*Parser).redis,
		names: []string{"process.pid", "redis.role"},
	},
	{
		name: "postgres", doc: "PostgreSQL's stderr, with the usual forms of log_line_prefix",
		begins: isoDate | word, traces: true, read: (*Parser).postgres,
		names: []string{"process.pid", "user.name", "db.namespace", "postgresql.application", "client.address",
			"db.response.status_code"},
	},
	{
		name: "mysql", doc: "the error logs of MariaDB and MySQL",
		begins: isoDate, read: (*Parser).mysql,
		names: []string{"thread.id", "mysql.code", "mysql.subsystem"},
	},
	{
		name: "haproxy", doc: "HAProxy: requests, connections, and its own words",
		begins: digit | word | bracket | other, read: (*Parser).haproxy,
		names: []string{
			"client.address", "client.port", "haproxy.frontend", "haproxy.backend", "haproxy.server", "haproxy.timers",
			"haproxy.bytes", "haproxy.termination_state",
			"http.server.request.duration", "http.response.status_code", "http.response.size", "http.request.method",
			"url.path", "url.query",
			"network.protocol.version", "http.request.original", "process.pid",
		},
	},
	{
		name: "klog", doc: "klog and glog: Kubernetes, etcd's clients, TensorFlow",
		begins: word, open: true, traces: true, read: (*Parser).klog,
		names: []string{"thread.id", "code.file.path", "code.line.number"},
	},
	{
		name: "syslog", doc: "RFC 3164 and 5424, as daemons write it and as libc does to /dev/log",
		begins: angle | month | isoDate | digit, open: true, traces: true, read: (*Parser).syslog,
		names: []string{"syslog.facility", "syslog.hostname", "syslog.appname", "syslog.procid", "syslog.msgid"},
	},
	{
		name: "zap", doc: "zap's console encoder, Caddy's too: fields set apart by tabs",
		begins: isoDate | slashDate | digit, open: true, traces: true, read: (*Parser).zapConsole,
		names: []string{"logger", "code.file.path", "code.line.number"},
	},
	{
		name: "zerolog", doc: "zerolog's console writer",
		begins: consoleShapes("zerolog"), open: true, traces: true, read: console("zerolog"), names: consoleNames("zerolog"),
	},
	{
		name: "logrus", doc: "logrus on a terminal (elsewhere it is logfmt)",
		begins: consoleShapes("logrus"), open: true, traces: true, read: console("logrus"), names: consoleNames("logrus"),
	},
	{
		name: "java", doc: "log4j, logback, Spring Boot, JBoss, Quarkus, Tomcat, Kafka, Elasticsearch, java.util.logging",
		begins: consoleShapes("java") | month, traces: true, read: (*Parser).java,
		names: append(consoleNames("java"), "code.function.name"),
	},
	{
		name: "python", doc: "Python's logging, loguru, gunicorn, uvicorn, Flask, Celery, Airflow, Home Assistant",
		begins: consoleShapes("python"), traces: true, read: (*Parser).python,
		names: append(consoleNames("python"), "client.address", "client.port", "http.request.method", "url.path",
			"url.query", "network.protocol.version",
			"http.response.status_code"),
	},
	{
		name: "dotnet", doc: ".NET's console logger, Serilog, NLog",
		begins: consoleShapes("dotnet") | word, traces: true, read: (*Parser).dotnet,
		names: append(consoleNames("dotnet"), "event.id"),
	},
	{
		name: "rust", doc: "env_logger, tracing, fern",
		begins: consoleShapes("rust"), open: true, traces: true, read: console("rust"), names: consoleNames("rust"),
	},
	{
		name: "php", doc: "PHP, php-fpm, Monolog, Laravel",
		begins: consoleShapes("php") | word, open: true, traces: true, read: (*Parser).php,
		names: append(consoleNames("php"), "code.file.path", "code.line.number"),
	},
	{
		name: "go", doc: "Go's log and slog without handler, hclog, Gitea",
		begins: consoleShapes("go"), open: true, traces: true, read: console("go"), names: consoleNames("go"),
	},
	{
		name: "pihole", doc: "Pi-hole's FTL",
		begins: consoleShapes("pihole"), traces: true, read: console("pihole"), names: consoleNames("pihole"),
	},
	{
		name: "access", doc: "common and combined log format, with host, forwarded-for, seconds, key=value or without: nginx, Apache and others",
		begins: digit | word | other | bracket, open: true, read: (*Parser).access,
		names: []string{
			"client.address", "user.name", "http.request.method", "url.path", "url.query", "network.protocol.version",
			"http.response.status_code", "http.response.body.size", "http.request.header.referer", "user_agent.original",
			"http.request.original", "server.address", "server.port", "http.request.header.x-forwarded-for",
			"http.server.request.duration",
		},
	},
	{
		name: "logfmt", doc: "key=value pairs and nothing else: logrus, slog, go-kit, Heroku",
		begins: word | other, open: true, read: (*Parser).logfmt,
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
