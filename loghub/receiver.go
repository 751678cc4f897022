// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/loghub/internal/sink"
)

// noReceiver is the value of log.otlp that wants none, whatever OTEL_* says.
const noReceiver = "none"

// receiver is where events go: what log.otlp says, else what the standard variables of OpenTelemetry say
// (opentelemetry.io/docs/specs/otel/protocol/exporter). The variables count together or not at all: a token for one
// server is not sent to another. They are often meant for the service's own SDK, so what cannot be used of them is no
// error: it is said, and loghub does without.
type receiver struct {
	url     string // "": none
	headers map[string]string
	timeout time.Duration  // of a request; 0: the default
	plain   bool           // no compression
	tls     *sink.TLSFiles // nil: the identity's alone
	from    string         // log.otlp, or the variable
	notes   []string       // what is not as somebody may expect
}

// shows says whether requests show the identity, and cannot be made without it.
func (to *receiver) shows() bool { return strings.HasPrefix(to.url, "https:") && to.tls == nil }

func (s Settings) receiver(getenv func(string) string) receiver {
	engine := sink.EngineNamed(s.Engine)
	to := receiver{headers: maps.Clone(engine.Headers)}
	if to.headers == nil {
		to.headers = map[string]string{}
	}
	path := s.Path
	if path == "" {
		path = engine.Path
	}
	switch {
	case s.OTLP == noReceiver:
		return to
	case s.OTLP != "":
		address, err := url.JoinPath(s.OTLP, path)
		if err != nil { // CheckSettings has said so
			to.notes = append(to.notes, err.Error())
			return to
		}
		to.url, to.from = address, "log.otlp"
	default:
		otel{getenv, signalLogs, &to}.take(path, s.Unsafe)
	}
	maps.Copy(to.headers, s.Headers)
	return to
}

// Tell says for --check where events go, and what of OTEL_* is not used.
func (s Settings) Tell(getenv func(string) string) []string {
	to := s.receiver(getenv)
	words := "events are not sent: neither log.otlp nor OTEL_EXPORTER_OTLP_ENDPOINT names a receiver"
	if to.url != "" {
		words = fmt.Sprintf("events go to %s, by %s", to.url, to.from)
	} else if s.OTLP == noReceiver {
		words = "events are not sent: log.otlp is none"
	}
	return append(to.notes, words)
}

// metricsReceiver is where loghub's own figures go: nowhere, unless the variables of OpenTelemetry say so.
func metricsReceiver(getenv func(string) string) receiver {
	to := receiver{headers: map[string]string{}}
	otel{getenv, signalMetrics, &to}.take("/v1/metrics", false)
	return to
}

// Signals, as variables name them.
const (
	signalLogs    = "LOGS"
	signalMetrics = "METRICS"
)

// otel reads the variables of a signal into a receiver.
type otel struct {
	getenv func(string) string
	signal string
	to     *receiver
}

// get returns the value for the signal of OTEL_EXPORTER_OTLP_<name>, and the variable it stands in.
func (o otel) get(name string) (value, variable string) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_" + o.signal + "_", "OTEL_EXPORTER_OTLP_"} {
		if value := strings.TrimSpace(o.getenv(prefix + name)); value != "" {
			return value, prefix + name
		}
	}
	return "", ""
}

func (o otel) note(format string, args ...any) {
	o.to.notes = append(o.to.notes, fmt.Sprintf(format, args...))
}

func (o otel) take(path string, unsafe bool) {
	endpoint, variable := o.get("ENDPOINT")
	if endpoint == "" || strings.EqualFold(o.getenv("OTEL_SDK_DISABLED"), "true") {
		return
	}
	if exporter := o.getenv("OTEL_" + o.signal + "_EXPORTER"); exporter != "" && exporter != "otlp" {
		o.note("%s is not used: OTEL_%s_EXPORTER is %s", variable, o.signal, exporter)
		return
	}
	if protocol, name := o.get("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		o.note("%s is not used: %s is %s, and loghub speaks http/protobuf", variable, name, protocol)
		return
	}
	if err := sink.CheckURL(endpoint, unsafe); err != nil {
		o.note("%s is not used: it %v", variable, err)
		return
	}
	if !strings.HasSuffix(variable, "_"+o.signal+"_ENDPOINT") {
		joined, err := url.JoinPath(endpoint, path)
		if err != nil {
			o.note("%s is not used: %v", variable, err)
			return
		}
		endpoint = joined
	}
	tls, ok := o.certificates(variable)
	if !ok {
		return
	}
	o.to.url, o.to.from, o.to.tls = endpoint, variable, tls
	o.options()
}

// certificates takes the files of the variables. Half a pair would show somebody else's certificate, or none.
func (o otel) certificates(endpoint string) (*sink.TLSFiles, bool) {
	ca, _ := o.get("CERTIFICATE")
	cert, _ := o.get("CLIENT_CERTIFICATE")
	key, _ := o.get("CLIENT_KEY")
	if (cert == "") != (key == "") {
		o.note("%s is not used: of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY one is missing", endpoint)
		return nil, false
	}
	return &sink.TLSFiles{CA: ca, Cert: cert, Key: key}, true
}

// options takes what has a default.
func (o otel) options() {
	if text, name := o.get("HEADERS"); text != "" {
		pairs, bad := pairs(text)
		maps.Copy(o.to.headers, pairs)
		for _, item := range bad {
			o.note("%s: item %d is not used: it must be name=value, percent-encoded where needed", name, item)
		}
	}
	if text, name := o.get("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms < 100 || ms > 600_000 {
			o.note("%s is not used: it must be milliseconds between 100 and 600000, got %q", name, text)
		} else {
			o.to.timeout = time.Duration(ms) * time.Millisecond
		}
	}
	switch text, name := o.get("COMPRESSION"); text {
	case "", "gzip":
	case "none":
		o.to.plain = true
	default:
		o.note("%s is not used: it must be gzip or none, got %q; gzip is", name, text)
	}
}

// pairs reads "a=b,c=d" with percent-encoded values (W3C Baggage without properties, as the specification asks for
// headers and resource attributes). bad holds the numbers, from 1, of what is none; their text may be a secret.
func pairs(text string) (good map[string]string, bad []int) {
	good = map[string]string{}
	for i, item := range strings.Split(text, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || badHeader(name, decoded) {
			bad = append(bad, i+1)
			continue
		}
		good[name] = decoded
	}
	return good, bad
}
