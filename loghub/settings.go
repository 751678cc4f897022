// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"github.com/bmatcuk/doublestar/v4"
)

// maxSocketPath leaves room for the name under which a socket is made (unix(7): 108 with the NUL).
const maxSocketPath = 80

// Settings is the section "log".
type Settings struct {
	OTLP    string                  `json:"otlp" doc:"OTLP receiver, https://genesis.internal:4318; without it OTEL_EXPORTER_OTLP_ENDPOINT counts, and without that or with none events are only copied to the container's output"`
	Engine  string                  `json:"engine" default:"loghub" enum:"loghub|collector|victorialogs|loki" doc:"what the receiver is: sets path and headers of requests"`
	Path    string                  `json:"otlp_path" doc:"path at the receiver; default: the engine's (/v1/logs, VictoriaLogs /insert/opentelemetry/v1/logs, Loki /otlp/v1/logs)"`
	Unsafe  bool                    `json:"otlp_unsafe" doc:"allow plain http:// to another machine"`
	Headers map[string]string       `json:"headers" doc:"headers of each request, such as X-Scope-OrgID; they win over the engine's"`
	Stdout  string                  `json:"stdout" default:"raw" enum:"raw|json|off" doc:"copy on the container's own output: the bytes as written, events as JSON lines, or none"`
	Format  string                  `json:"format" default:"auto" doc:"format of the service's own output: auto, or one that loghub parse --formats lists"`
	Pattern string                  `json:"pattern" doc:"regular expression (RE2) with named groups for the service's own output, tried before its format"`
	Join    bool                    `json:"multiline" default:"true" doc:"make one event of the lines of a stack trace in the service's own output"`
	Limit   limit.Rate              `json:"limit" doc:"how many lines alike (but for numbers, hexadecimal words and quoted values) of the service's own output and of syslog are kept in a time, such as 100/10s; one event tells of the others. Fatal ones are always kept"`
	Syslog  string                  `json:"syslog" default:"auto" doc:"socket that syslog(3) writes to: auto (/dev/log in a container, if nobody else listens there), off, or a path"`
	Files   map[string]FileSettings `json:"files" doc:"log files to follow, by a name of your choice"`
	Spool   string                  `json:"spool" default:"auto" enum:"auto|memory|disk|memory-first" doc:"where events wait; auto: in memory in a container without a state slot of its own, memory-first where the state directory lies on an SD card, eMMC or USB stick, else on disk"`
	Quota   hubfile.Bytes           `json:"quota" default:"64MiB" min:"4MiB" max:"16GiB" doc:"size of the spool (in memory at most an eighth of the container's limit); when it is reached files wait and pipes shed the least severe first"`
	Fsync   time.Duration           `json:"fsync" default:"1s" min:"100ms" max:"1m" doc:"how often a spool on disk is forced down; after an event that is an error at once"`
	Mask    bool                    `json:"mask" default:"true" doc:"hide the container's own secrets in events"`
	Shapes  []string                `json:"mask_patterns" enum:"cards|tokens" doc:"hide in events too, by how they look: cards (numbers of payment cards, but for their last four digits), tokens (credentials in Authorization headers, access_token=…, JSON web tokens, ghp_…, glpat-… and the like)"`

	// Of a spool that spares its disk.
	DiskAfter  time.Duration `json:"disk_after" default:"10s" min:"1s" max:"1h" doc:"memory-first: events that were not sent for so long go to the disk"`
	DiskPerDay hubfile.Bytes `json:"disk_per_day" default:"1GiB" min:"16MiB" max:"1TiB" doc:"bytes written to the disk in 24 hours; memory-first: beyond them events wait in memory alone, disk: health warns"`
}

// FileSettings is one entry of log.files.
type FileSettings struct {
	Path    string     `json:"path" doc:"absolute path, with * ? [] {} and ** for any number of directories"`
	Exclude []string   `json:"exclude" doc:"patterns of files to leave out"`
	Format  string     `json:"format" default:"auto" doc:"format of the lines: auto, or one that loghub parse --formats lists"`
	Pattern string     `json:"pattern" doc:"regular expression (RE2) with named groups, tried before the format"`
	Join    bool       `json:"multiline" default:"true" doc:"make one event of the lines of a stack trace"`
	Limit   limit.Rate `json:"limit" doc:"how many lines alike of a file are kept in a time, such as 100/10s; one event tells of the others"`
}

// CheckSettings reports what single fields cannot tell.
func (s Settings) CheckSettings(report func(key, message string)) {
	if s.OTLP != "" && s.OTLP != noReceiver {
		if err := sink.CheckURL(s.OTLP, s.Unsafe); err != nil {
			report("otlp", err.Error())
		}
	}
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") || strings.ContainsAny(s.Path, "?#") {
		report("otlp_path", "must begin with / and have neither query nor fragment")
	}
	for name, value := range s.Headers {
		if badHeader(name, value) {
			report("headers."+name, "is no header: its name has letters, digits and -, its value no control characters")
		}
	}
	checkParse(report, "", s.Format, s.Pattern)
	if p := s.Syslog; p != "" && p != "auto" && p != "off" && (!filepath.IsAbs(p) || len(p) > maxSocketPath) {
		report("syslog", "must be auto, off or an absolute path of at most "+strconv.Itoa(maxSocketPath)+" bytes, got "+quote(p))
	}
	for name, f := range s.Files {
		checkParse(report, "files."+name+".", f.Format, f.Pattern)
		switch {
		case !filepath.IsAbs(f.Path):
			report("files."+name+".path", "must be an absolute path or pattern, got "+quote(f.Path))
		case !doublestar.ValidatePathPattern(f.Path):
			report("files."+name+".path", quote(f.Path)+" is no pattern: a [ or { is not closed, or nothing stands in it")
		}
		for _, e := range f.Exclude {
			if !doublestar.ValidatePathPattern(e) {
				report("files."+name+".exclude", quote(e)+" is no pattern")
			}
		}
	}
}

func quote(s string) string { return `"` + s + `"` }

// checkParse reports a format that there is none of, and a pattern that is no regular expression.
func checkParse(report func(key, message string), at, format, pattern string) {
	if format != "" && format != "auto" && !slices.Contains(parse.Formats(), format) {
		report(at+"format", "must be auto or one of "+strings.Join(parse.Formats(), ", ")+", got "+quote(format))
	}
	if pattern == "" {
		return
	}
	if _, err := parse.NewPattern(pattern); err != nil {
		report(at+"pattern", err.Error())
	}
}

// pattern is nil where none is set; CheckSettings has seen to it that it compiles.
func pattern(text string) *parse.Pattern {
	if text == "" {
		return nil
	}
	p, err := parse.NewPattern(text)
	if err != nil {
		panic(err)
	}
	return p
}

// badHeader says whether net/http would refuse to send it (RFC 9110 §5.1, §5.5).
func badHeader(name, value string) bool {
	token := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}
	return name == "" || strings.ContainsFunc(name, func(r rune) bool { return !token(r) }) ||
		strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// fileSets gives log.files in a fixed order.
func (s Settings) fileSets() []source.FileSet {
	var out []source.FileSet
	for name, f := range s.Files {
		out = append(out, source.FileSet{Name: name, Pattern: f.Path, Exclude: f.Exclude,
			Parse: parse.Options{Format: f.Format, Pattern: pattern(f.Pattern)}, Apart: !f.Join, Limit: f.Limit})
	}
	slices.SortFunc(out, func(a, b source.FileSet) int { return strings.Compare(a.Name, b.Name) })
	return out
}
