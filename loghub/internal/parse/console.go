// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"slices"

	"cloud4.internal/hub/internal/otlp"
)

// layouts are how frameworks print for people. A line is of the first layout that fits it, so the closer ones stand first.
var layouts = []layout{
	// zerolog's ConsoleWriter; Traefik.
	compile("zerolog", digit, `{kitchen} {LVL} {caller} > {pairs}`),
	compile("zerolog", digit, `{kitchen} {LVL} {pairs}`),
	compile("zerolog", isoDate, `{isotime} {LVL} {caller} > {pairs}`),
	compile("zerolog", isoDate, `{isotime} {LVL} {pairs}`),

	// logrus on a terminal. Elsewhere it is logfmt.
	compile("logrus", word, `{code}[{time}] {pairs}`),
	compile("logrus", word, `{code}[{digits}]{caller} {function}() {pairs}`),
	compile("logrus", word, `{code}[{digits}] {pairs}`),

	// Spring Boot 2, 3 and 3.2 with an application's name or trace ids.
	compile("java", isoDate, `{time} {level} {pid} --- [{thread}] {logger} : {message}`),
	compile("java", isoDate, `{time} {level} {pid} --- [{-}] [{thread}] {logger} : {message}`),
	compile("java", isoDate, `{time} {level} {pid} --- [{-}] [{thread}] [{trace}] {logger} : {message}`),
	// logback and log4j; JBoss and Quarkus; Zookeeper; Jenkins.
	compile("java", isoDate, `{time} [{thread}] {level} {logger} - {message}`),
	compile("java", isoDate, `{time} [{thread}] {level} {logger} -- {message}`),
	compile("java", isoDate, `{time} {level} [{thread}] {logger} - {message}`),
	compile("java", isoDate, `{time} {level} [{logger}] ({thread}) {message}`),
	compile("java", isoDate, `{time} [{-}] - {level} [{thread}] - {message}`),
	compile("java", isoDate, "{time} [id={tid}]\t{level}\t{logger}: {message}"),
	compile("java", isoDate, `{sqltime} {LEVEL} {logger} - {message}`),
	compile("java", digit, `{clock} [{thread}] {level} {logger} - {message}`),
	compile("java", digit, `{clock} [{thread}] {level} {logger} -- {message}`),
	// Tomcat; Elasticsearch and OpenSearch; Minecraft.
	compile("java", digit, `{daytime} {level} [{thread}] {logger} {message}`),
	compile("java", bracket, `[{time}][{level}_][{logger}_] [{-}]_{message}`),
	compile("java", bracket, `[{clock}] [{thread}/{level}]: {message}`),
	compile("java", bracket, `[{clock}] [{thread}/{level}] [{logger}]: {message}`),

	// mysql.go reads it; it stands here so that it is not taken for Python's.
	compile("mysql", isoDate, `{time} [{level}] [Entrypoint]: {message}`),
	// Jellyfin's files, by Serilog; they stand here so that a thread is not taken for Python's logger.
	compile("dotnet", bracket, `[{sqltime}] [{LVL}] [{tid}] {logger}: {message}`),
	// gunicorn; Flask; Celery; Airflow; Paperless.
	compile("python", bracket, `[{sqltime}] [{pid}] [{level}] {message}`),
	compile("python", bracket, `[{sqltime}] {level} in {logger}: {message}`),
	compile("python", bracket, `[{sqltime}: {level}/{process}] {message}`),
	compile("python", bracket, `[{time}] {{caller}} {level} - {message}`),
	compile("python", bracket, `[{sqltime}] [{level}] [{logger}] {message}`),
	// Kafka, which is one of log4j's, but prints like many a Python program.
	compile("java", bracket, `[{sqltime}] {LEVEL} {message}`),
	// The formats of logging's documentation; loguru; Home Assistant; supervisord.
	compile("python", isoDate, `{sqltime} - {logger} - {level} - {message}`),
	compile("python", isoDate, `{sqltime} | {level} | {channel}:{function}:{line} - {message}`),
	compile("python", isoDate, `{sqltime} {level} ({thread}) [{logger}] {message}`),
	compile("python", isoDate, `{sqltime} {LEVEL} {module}: {message}`),
	compile("python", isoDate, `{sqltime} {LEVEL} {message}`),
	compile("python", isoDate, `{sqltime} [{LEVEL}] {module}: {message}`),
	compile("python", isoDate, `{sqltime} [{LEVEL}] {message}`),
	compile("python", isoDate, `{sqltime}:{LEVEL}:{channel}:{message}`),
	compile("python", word, `{LEVEL}:{channel}:{message}`),

	// Serilog; Jellyfin; NLog.
	compile("dotnet", bracket, `[{clock} {LVL}] {message}`),
	compile("dotnet", bracket, `[{sqltime} {LVL}] {message}`),
	compile("dotnet", bracket, `[{clock}] [{LVL}] [{tid}] {logger}: {message}`),
	compile("dotnet", isoDate, `{sqltime} [{LVL}] {message}`),
	compile("dotnet", isoDate, `{sqltime}|{level}|{logger}|{message}`),

	// env_logger; tracing's fmt, where spans stay in the message; fern as Vaultwarden sets it up.
	compile("rust", bracket, `[{isotime} {LEVEL} {logger}] {message}`),
	compile("rust", bracket, `[{sqltime}][{logger}][{LEVEL}] {message}`),
	compile("rust", isoDate, `{isotime} {LEVEL} {module}: {pairs}`),
	compile("rust", isoDate, `{isotime} {LEVEL} {pairs}`),

	// nginx.go reads it; it stands here so that it is not taken for Go's.
	compile("nginx-error", slashDate, `{time} [{level}] {pid}#{tid}: {message}`),
	// slog's default; hclog (Consul, Nomad, Terraform, Vault); logutils.
	compile("go", slashDate, `{time} {LEVEL} {pairs}`),
	compile("go", slashDate, `{time} [{LEVEL}] {message}`),
	compile("go", slashDate, `{time} {caller}:{function}() [{letter}] {message}`), // Gitea and Forgejo
	compile("go", slashDate, `{time} {caller}: {message}`),
	compile("go", slashDate, `{time} {message}`),
	compile("go", isoDate, `{isotime} [{LEVEL}] {module}: {pairs}`),
	compile("go", isoDate, `{isotime} [{LEVEL}] {pairs}`),

	// Monolog and Laravel.
	compile("php", bracket, `[{time}] {channel}.{LEVEL}: {objects}`),
	// php-fpm.
	compile("php", bracket, `[{daytime}] {LEVEL}: {message}`),
	compile("php", bracket, `[{daytime}] {message}`),

	// FTL, whose zone is a word that may mean nothing without the system's tables, see zoneOf.
	compile("pihole", isoDate, `{time} [{pid}M] {LEVEL}: {message}`),
	compile("pihole", isoDate, `{time} [{pid}/{-}] {LEVEL}: {message}`),
	compile("pihole", isoDate, `{time} {-} [{pid}M] {LEVEL}: {message}`),
	compile("pihole", isoDate, `{time} {-} [{pid}/{-}] {LEVEL}: {message}`),

	// HAProxy's own words while it starts and ends.
	compile("haproxy", bracket, `[{LEVEL}] ({pid}) : {message}`),
}

// layoutsByShape are the layouts that a line of each shape may have, in their order.
var layoutsByShape = func() (table [shapes][]*layout) {
	for s := range table {
		for i := range layouts {
			if layouts[i].begins&(1<<s) != 0 {
				table[s] = append(table[s], &layouts[i])
			}
		}
	}
	return table
}()

// consoleMemo remembers which layout a line has: several formats ask for it.
type consoleMemo struct {
	asked bool
	won   *layout
}

// console reads a line whose layout is one of the format's.
func console(format string) func(p *Parser, line []byte, rec *otlp.Record) bool {
	return func(p *Parser, line []byte, rec *otlp.Record) bool {
		if p.console.asked {
			return p.console.won != nil && p.console.won.format == format && p.console.won.match(p, line, rec)
		}
		p.console = consoleMemo{true, p.layoutOf(line, rec)}
		return p.console.won != nil && p.console.won.format == format
	}
}

// layoutOf finds the layout of a line and reads the line by it.
func (p *Parser) layoutOf(line []byte, rec *otlp.Record) *layout {
	at := 0
	if len(line) > 0 && line[0] == '[' {
		at = 1
	}
	var o outline
	stamp := p.stamp(line, line[at:], rec)
	if stamp > 0 {
		o = outlineOf(line[at:], stamp)
	}
	for _, l := range layoutsByShape[shapeOf(line)] {
		if l.outline.meets(&o) && l.fits(line, stamp) && l.match(p, line, rec) {
			return l
		}
	}
	return nil
}

// consoleShapes are the beginnings of a format's layouts.
func consoleShapes(format string) (begins shape) {
	for i := range layouts {
		if layouts[i].format == format {
			begins |= layouts[i].begins
		}
	}
	return begins
}

// consoleNames are the attributes that a format's layouts make.
func consoleNames(format string) (names []string) {
	for i := range layouts {
		if layouts[i].format != format {
			continue
		}
		for _, s := range layouts[i].steps {
			switch {
			case s.part == partCaller:
				names = append(names, "code.file.path", "code.line.number")
			case s.attr != "":
				names = append(names, s.attr)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// abbreviated maps a word of three or four letters to its severity: those of zerolog, logrus, Serilog, and .NET.
func abbreviated(word []byte) uint8 {
	if len(word) < 3 || len(word) > 4 {
		return 0
	}
	var upper [4]byte
	for i, c := range word {
		upper[i] = c &^ 0x20
	}
	switch string(upper[:len(word)]) {
	case "TRC", "TRAC", "TRCE", "VRB":
		return Trace
	case "DBG", "DEBU", "DBUG":
		return Debug
	case "INF", "INFO":
		return Info
	case "WRN", "WARN":
		return Warn
	case "ERR", "ERRO", "FAIL":
		return Error
	case "CRIT":
		return Error + 1
	case "PNC", "PANI":
		return Error + 2
	case "FTL", "FATA":
		return Fatal
	}
	return 0
}
