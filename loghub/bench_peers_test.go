// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// peersHere are the programs on the PATH that deliver files too, each with its own documented way to parse such lines and to
// keep them on disk until they are acknowledged. None of them looks for secrets.
func peersHere(input string) []peer {
	var here []peer
	for _, p := range []struct {
		programs []string
		notes    map[string]string // by input
		start    func(program, input string) func(b *testing.B, dir, file, address string) *exec.Cmd
		taker    func() taker
	}{
		{[]string{"fluent-bit"}, map[string]string{"nginx": "sends the fields, and not the line"}, startFluentBit, nil},
		{[]string{"otelcol-contrib", "otelcol"}, map[string]string{"json": "sends the line beside its fields"}, startCollector, nil},
		{[]string{"rsyslogd"}, map[string]string{"nginx": "JSON over RELP, not packed", "json": "JSON over RELP, not packed"}, startRsyslog, newRELP},
	} {
		for _, name := range p.programs {
			if program, err := exec.LookPath(name); err == nil {
				here = append(here, peer{name: name, note: p.notes[input], start: p.start(program, input), taker: p.taker})
				break
			}
		}
	}
	return here
}

// accessPattern is the combined format as a regular expression; the names of its groups become fields.
const accessPattern = `^(?<remote>[^ ]*) - (?<user>[^ ]*) \[(?<time>[^\]]*)\] ` +
	`"(?<method>\S+) (?<path>[^ ]*) [^"]*" (?<code>[^ ]*) (?<size>[^ ]*) "(?<referer>[^"]*)" "(?<agent>[^"]*)"`

func config(b *testing.B, dir, name, text string) string {
	b.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

// startFluentBit sends the message of JSON as the body and its other fields as attributes, which it would leave out otherwise;
// of nginx a map of the fields as the body, all of them texts, and not the line as it was. It names neither file nor line, and packs
// with gzip's level 6.
func startFluentBit(program, input string) func(b *testing.B, dir, file, address string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		at := must(url.Parse(address))
		parser := "format: json, time_format: '%Y-%m-%dT%H:%M:%S.%LZ'"
		fields := ", logs_body_key: $message, logs_body_key_attributes: true, logs_severity_text_message_key: $level"
		if input == "nginx" {
			fields = ""
			parser = "format: regex, time_format: '%d/%b/%Y:%H:%M:%S %z', regex: '" + accessPattern + "'"
		}
		return exec.Command(program, "-c", config(b, dir, "fluent-bit.yaml", fmt.Sprintf(`
service: {flush: 1, log_level: warn, storage.path: %[1]s/storage}
parsers:
  - {name: lines, time_key: time, %[2]s}
pipeline:
  inputs:
    - {name: tail, path: %[3]s, read_from_head: true, parser: lines, db: %[1]s/tail.db, storage.type: filesystem}
  outputs:
    - {name: opentelemetry, match: '*', host: %[4]s, port: %[5]s, logs_uri: /v1/logs, compress: gzip, retry_limit: no_limits%[6]s}
`, dir, parser, file, at.Hostname(), at.Port(), fields)))
	}
}

// startCollector sends the fields as attributes, and the line as it was as the body, also of JSON.
func startCollector(program, input string) func(b *testing.B, dir, file, address string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		operator, layout := "type: json_parser, severity: {parse_from: attributes.level}", "2006-01-02T15:04:05.000Z07:00"
		if input == "nginx" {
			operator, layout = "type: regex_parser, regex: '"+accessPattern+"'", "02/Jan/2006:15:04:05 -0700"
		}
		return exec.Command(program, "--config", config(b, dir, "collector.yaml", fmt.Sprintf(`
extensions: {file_storage: {directory: %[1]s}}
receivers: {file_log: {include: [%[2]s], start_at: beginning, storage: file_storage, operators: [
  {%[3]s, timestamp: {parse_from: attributes.time, layout_type: gotime, layout: '%[4]s'}}]}}
exporters: {otlp_http: {endpoint: %[5]s,
  sending_queue: {storage: file_storage, block_on_overflow: true}, retry_on_failure: {max_elapsed_time: 0}}}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  extensions: [file_storage]
  pipelines: {logs: {receivers: [file_log], exporters: [otlp_http]}}
`, dir, file, operator, layout, address)))
	}
}

// startRsyslog sends the fields as JSON over RELP: Debian's rsyslog has no OTLP and no HTTP output, and of those it has none
// both packs and is acknowledged. So it packs nothing, the time of the line stays a text among the fields, and its queue lies
// on disk only in part, where memory does not hold it, as its documentation has it.
func startRsyslog(program, input string) func(b *testing.B, dir, file, address string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		parser := `module(load="mmjsonparse") action(type="mmjsonparse" cookie="")`
		if input == "nginx" {
			rules := config(b, dir, "access.rulebase", "version=2\n"+
				`rule=:%remote:word% - %user:word% [%time:char-to:]%] `+
				`"%method:word% %path:word% %protocol:char-to:"%" %code:number% %size:number% `+
				`"%referer:char-to:"%" "%agent:char-to:"%"`+"\n")
			parser = `module(load="mmnormalize") action(type="mmnormalize" rulebase="` + rules + `")`
		}
		return exec.Command(program, "-n", "-i", filepath.Join(dir, "pid"), "-f", config(b, dir, "rsyslog.conf", fmt.Sprintf(`
global(workDirectory="%[1]s")
module(load="imfile") module(load="omrelp")
template(name="event" type="string" string="%%$!all-json%%")
input(type="imfile" File="%[2]s" Tag="input")
%[3]s
action(type="omrelp" Target="%[4]s" Port="%[5]s" Template="event" action.resumeRetryCount="-1"
       queue.type="LinkedList" queue.filename="spool" queue.maxDiskSpace="1g" queue.saveOnShutdown="on")
`, dir, file, parser, host, port)))
	}
}
