// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// peersHere are the programs on the PATH that deliver files too, each with its own documented way to parse such lines and to
// keep them on disk until they are acknowledged.
func peersHere(input string) []peer {
	var here []peer
	for _, p := range []struct {
		programs []string
		start    func(program, input string) func(b *testing.B, dir, file, url string) *exec.Cmd
		sink     func(b *testing.B) (string, func() int64, func() int64)
	}{
		{[]string{"fluent-bit"}, startFluentBit, nil},
		{[]string{"otelcol", "otelcol-contrib"}, startCollector, nil},
		{[]string{"rsyslogd"}, startRsyslog, lineSink},
	} {
		for _, name := range p.programs {
			if program, err := exec.LookPath(name); err == nil {
				here = append(here, peer{name: name, start: p.start(program, input), sink: p.sink})
				break
			}
		}
	}
	return here
}

// accessPattern is the combined format as a regular expression; the names of its groups become attributes.
const accessPattern = `^(?<remote>[^ ]*) - (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+) (?<path>[^ ]*) [^"]*" (?<code>[^ ]*) (?<size>[^ ]*) "(?<referer>[^"]*)" "(?<agent>[^"]*)"`

func config(b *testing.B, dir, name, text string) string {
	b.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

func startFluentBit(program, input string) func(b *testing.B, dir, file, url string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		at := must(url.Parse(address))
		parser := "    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%LZ\n"
		if input == "nginx" {
			parser = "    Format regex\n    Regex " + accessPattern + "\n    Time_Key time\n    Time_Format %d/%b/%Y:%H:%M:%S %z\n"
		}
		parsers := config(b, dir, "parsers.conf", "[PARSER]\n    Name lines\n"+parser)
		return exec.Command(program, "-c", config(b, dir, "fluent-bit.conf", fmt.Sprintf(`[SERVICE]
    Flush 1
    Log_Level error
    Parsers_File %s
    storage.path %s/storage
[INPUT]
    Name tail
    Path %s
    Read_from_Head on
    Parser lines
    DB %s/tail.db
    storage.type filesystem
[OUTPUT]
    Name opentelemetry
    Match *
    Host %s
    Port %s
    Logs_uri /v1/logs
    compress gzip
    Retry_Limit no_limits
`, parsers, dir, file, dir, at.Hostname(), at.Port())))
	}
}

func startCollector(program, input string) func(b *testing.B, dir, file, url string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		operator := "{type: json_parser, timestamp: {parse_from: attributes.time, layout_type: gotime, layout: '2006-01-02T15:04:05.999999999Z07:00'}}"
		if input == "nginx" {
			operator = "{type: regex_parser, regex: '" + accessPattern + "', timestamp: {parse_from: attributes.time, layout_type: gotime, layout: '02/Jan/2006:15:04:05 -0700'}}"
		}
		return exec.Command(program, "--config", config(b, dir, "collector.yaml", fmt.Sprintf(`
extensions: {file_storage: {directory: %[1]s}}
receivers: {file_log: {include: [%[2]s], start_at: beginning, storage: file_storage, operators: [%[3]s]}}
exporters: {otlp_http: {endpoint: %[4]s, sending_queue: {storage: file_storage, block_on_overflow: true}, retry_on_failure: {max_elapsed_time: 0}}}
service:
  telemetry: {metrics: {level: none}, logs: {level: error}}
  extensions: [file_storage]
  pipelines: {logs: {receivers: [file_log], exporters: [otlp_http]}}
`, dir, file, operator, address)))
	}
}

// startRsyslog sends the lines as they are over TCP: Debian's rsyslog has no OTLP output, so it neither parses nor compresses.
func startRsyslog(program, _ string) func(b *testing.B, dir, file, url string) *exec.Cmd {
	return func(b *testing.B, dir, file, address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		return exec.Command(program, "-n", "-i", filepath.Join(dir, "pid"), "-f", config(b, dir, "rsyslog.conf", fmt.Sprintf(`
global(workDirectory="%[1]s")
module(load="imfile")
template(name="line" type="string" string="%%msg%%\n")
input(type="imfile" File="%[2]s" Tag="input")
action(type="omfwd" Target="%[3]s" Port="%[4]s" Protocol="tcp" Template="line" action.resumeRetryCount="-1"
       queue.type="LinkedList" queue.filename="spool" queue.maxDiskSpace="1g" queue.saveOnShutdown="on")
`, dir, file, host, port)))
	}
}

// lineSink counts lines that arrive over TCP.
func lineSink(b *testing.B) (address string, records, bytes func() int64) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	b.Cleanup(func() { ln.Close() })
	var n, size atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewReaderSize(conn, 64<<10); ; {
					line, err := lines.ReadSlice('\n')
					if err != nil {
						return
					}
					n.Add(1)
					size.Add(int64(len(line)))
				}
			}()
		}
	}()
	return ln.Addr().String(), n.Load, size.Load
}
