// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"
)

// The three hubs have 2 s together to stop, loghub last; measured from TERM.
const (
	stopSend   = 1100 * time.Millisecond // last request done, or given up
	stopOutput = 300 * time.Millisecond  // for the copy, from the moment the pipes are empty
)

// Memory: the working set is some 3 MB, so collecting early costs little. One core
// can read and parse while another compresses; more are the service's.
const (
	procs       = 2
	gcPercent   = 40
	memoryLimit = 24 << 20
)

// hubsBehind is the part of the spool's quota that the hubs' own warnings never take: however many there are, there is
// room for what the service says.
const hubsBehind = 0.5

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "the hub in the container: pipes and files to events, spool and receiver",
		Action: daemon.Service(func(c *cli.Context, log zerolog.Logger) error {
			var id identity.Settings
			var settings Settings
			if _, err := daemon.Settings(c, log,
				hubfile.Section{Name: "identity", Into: &id}, hubfile.Section{Name: "log", Into: &settings}); err != nil {
				return err
			}
			defer daemon.Small(procs, gcPercent)()
			debug.SetMemoryLimit(memoryLimit)
			hub, err := initctl.FromEnv()
			if err != nil {
				return err
			}
			r := &runner{hub: hub, id: id, settings: settings, log: log}
			return r.run(c.Context)
		}),
	}
}

// runner is one `loghub run`.
type runner struct {
	hub      *initctl.Hub
	id       identity.Settings
	settings Settings
	log      zerolog.Logger

	files    *identity.Files
	resource *resource
	to       receiver
	spool    *spool.Spool // nil without a receiver
	where    string       // of the spool: its directory, "memory" or "none"
	durable  string       // what survives what, in plain words
	written  time.Time    // when the spool on disk was last written before this start
	deaths   *postmortem  // nil where there are no events
	shared   *source.Shared
	pipes    []*source.Pipe
	tails    *source.Files  // nil without log.files
	syslog   *source.Syslog // nil where there is none
	noSyslog string         // why
	deaf     bool           // it was to be there, and could not be made
	sender   *sink.Sender   // nil without a receiver
	outputs  map[string]*sink.Output
	report   *report
}

func (r *runner) run(ctx context.Context) error {
	r.files = identity.Open(identity.Dir())
	r.resource = newResource(r.files, r.id)
	if err := r.open(); err != nil {
		return err
	}
	if len(r.pipes) == 0 && r.tails == nil && r.syslog == nil {
		r.log.Info().Msg("nothing to do: no pipe of hubinit or on stdin, no log.files, and no log.syslog")
		return r.close()
	}
	r.report = newReport(r)
	if err := r.hub.Ready(); err != nil {
		r.log.Warn().Err(err).Msg("starting")
	}
	r.log.Info().Str("otlp", r.to.url).Str("otlp_from", r.to.from).Str("spool", r.where).Int("pipes", len(r.pipes)).
		Int("files", len(r.settings.Files)).Str("stdout", r.settings.Stdout).Msg("started")
	return r.work(ctx)
}

// open prepares everything that can fail before the first byte is read.
func (r *runner) open() error {
	if err := r.openSpool(); err != nil {
		return err
	}
	r.outputs = map[string]*sink.Output{
		"stdout": sink.NewOutput(r.stream(r.hub.Stdout(), os.Stdout)),
		"stderr": sink.NewOutput(r.stream(r.hub.Stderr(), os.Stderr)),
	}
	r.shared = &source.Shared{
		Spool: r.spool, Canaries: new(canary.Watch), Log: r.log, RunDir: r.hub.RunDir(), StateDir: initctl.StateDir(),
	}
	r.shared.Masker = r.masker()
	if r.settings.Stdout == "json" {
		r.shared.Emit = r.emitter()
	}
	if err := r.openDeaths(); err != nil {
		return err
	}
	if err := r.openPipes(); err != nil {
		return err
	}
	if len(r.settings.Files) > 0 {
		if r.spool == nil && r.shared.Emit == nil {
			r.log.Warn().Msg("log.files are not read: there is neither log.otlp nor log.stdout json to put them")
		} else {
			tails, err := source.OpenFiles(r.shared, r.settings.fileSets())
			if err != nil {
				return daemon.Usage(err)
			}
			r.tails = tails
		}
	} else if r.spool != nil {
		source.ForgetProbes(r.shared)
	}
	if err := r.openSyslog(); err != nil {
		return err
	}
	return r.openSender()
}

// masker hides what the settings have hidden; nil: nothing.
func (r *runner) masker() *mask.Live {
	shapes, err := mask.ParseShapes(r.settings.Shapes)
	if err != nil {
		panic(err) // the settings take no other names
	}
	switch {
	case r.settings.Mask:
		return mask.Open(r.secrets(shapes))
	case shapes != 0:
		return mask.OpenShapes(shapes)
	}
	return nil
}

// secrets says where what is hidden comes from.
func (r *runner) secrets(shapes mask.Shapes) mask.Sources {
	host, err := os.Hostname()
	if err != nil {
		r.log.Debug().Err(err).Msg("without the host's name")
	}
	return mask.Sources{
		Environ: os.Environ(), Dir: secretsDir, Host: host, Handed: r.hub.Secrets(), Shapes: shapes,
		Tell: func(left []mask.Left) {
			names := map[string][]string{}
			for _, l := range left {
				names[l.Why] = append(names[l.Why], l.Name)
			}
			r.log.Warn().Interface("secrets", names).Msg("values that are not hidden in events")
		},
	}
}

// secretsDir is where Docker and Podman put secrets.
const secretsDir = "/run/secrets"

// stream is where a copy goes: what hubinit handed over, else our own.
func (r *runner) stream(handed, own *os.File) *os.File {
	if handed != nil || r.hub.Supervised() {
		return handed
	}
	return own
}

// openDeaths prepares to tell how the service ends, and tells of a container that ended without a word.
func (r *runner) openDeaths() (err error) {
	if r.spool == nil && r.shared.Emit == nil {
		return nil
	}
	if r.deaths, err = newPostmortem(r.hub.RunDir(), r.shared, r.log); err != nil {
		return err
	}
	if r.spoolDir() != "" {
		if err := beginLife(r.hub.RunDir(), r.spoolDir(), r.written, r.shared); err != nil {
			r.log.Warn().Err(err).Msg("an end of this container without a word would not be told")
		}
	}
	return nil
}

// openPipes takes the pipes that hubinit handed over, or a pipe on stdin.
func (r *runner) openPipes() error {
	state, err := initctl.ReadState(r.hub.RunDir())
	if err != nil { // without hubinit there is none
		state = &initctl.State{}
	}
	pipes := r.hub.Pipes()
	if len(pipes) == 0 && !r.hub.Supervised() {
		f, err := stdin(os.Stdin)
		switch {
		case errors.Is(err, errTerminal) && len(r.settings.Files) > 0: // those are what is to be read
		case err != nil:
			return daemon.Usage(err)
		case f != nil:
			pipes = map[string]*os.File{"stdin": f}
		}
	}
	for _, name := range []string{"stdout", "stderr", "hubs", "stdin"} {
		f := pipes[name]
		if f == nil {
			continue
		}
		o := source.PipeOptions{Name: name, Pipe: f}
		was := state.Pipes[name]
		o.Drained, o.DrainedOpen = was.Drained+was.Lost, was.Open
		r.describe(&o)
		p, err := source.OpenPipe(r.shared, o)
		if err != nil {
			return err
		}
		r.pipes = append(r.pipes, p)
	}
	return nil
}

// describe says what becomes of a pipe.
func (r *runner) describe(o *source.PipeOptions) {
	out := r.outputs["stdout"]
	o.Parse = parse.Options{Format: r.settings.Format, Pattern: pattern(r.settings.Pattern)}
	o.Apart = !r.settings.Join
	o.Limit = r.settings.Limit
	switch o.Name {
	case "hubs":
		o.Parse = parse.Options{Format: "json"}
		o.MinSeverity = parse.Warn
		o.Apart = false
		o.Limit = limit.Rate{}
		o.Behind = hubsBehind
		o.Attrs = []otlp.KeyValue{{Key: event.AttrPipe, Value: otlp.String("hubs")}}
		o.Copy = r.outputs["stderr"].Add // whatever log.stdout says: it is nowhere else
		o.Raw = r.spool == nil
		return
	case "stderr":
		out = r.outputs["stderr"]
	}
	if o.Name != "stdin" {
		o.Attrs = []otlp.KeyValue{{Key: event.AttrStream, Value: otlp.String(o.Name)}}
	}
	if r.settings.Stdout == "raw" {
		o.Copy = out.Add
	}
	o.Raw = r.spool == nil && r.shared.Emit == nil
	if r.deaths != nil && o.Name != "stdin" {
		o.Copy = r.deaths.keep(o.Name, o.Copy)
	}
}

// emitter copies records as JSON lines.
func (r *runner) emitter() func(string, *otlp.Record) {
	var mu sync.Mutex // sources are goroutines of their own
	var buf []byte
	var decoded otlp.Record
	return func(stream string, rec *otlp.Record) {
		if stream == "hubs" {
			return // copied as they are
		}
		mu.Lock()
		defer mu.Unlock()
		// The fixed attributes of a source exist in encoded form only.
		if err := otlp.DecodeRecord(otlp.AppendRecord(nil, rec), &decoded); err != nil || isCanary(&decoded) {
			return
		}
		buf = jsonline.Append(buf[:0], nil, nil, &decoded)
		out := r.outputs["stdout"]
		if stream == "stderr" {
			out = r.outputs["stderr"]
		}
		out.Add(buf)
	}
}

// isCanary says whether a record is one of loghub doctor's, which is to reach the receiver and nobody else.
func isCanary(rec *otlp.Record) bool {
	return slices.ContainsFunc(rec.Attributes, func(kv otlp.KeyValue) bool { return kv.Key == event.AttrCanary })
}

func (r *runner) openSender() error {
	if r.spool == nil {
		return nil
	}
	r.sender = sink.New(sink.Options{
		URL: r.to.url, Headers: r.to.headers, TLS: r.to.tls, Timeout: r.to.timeout, Plain: r.to.plain,
		Files: r.files, Resource: r.resource.attributes,
		Scope: otlp.Scope{Name: "loghub", Version: daemon.Version()},
		Spool: r.spool, Dead: sink.NewDeadLetters(r.spoolDir()), Log: r.log,
		Changed: func() { r.report.changed() }, Answered: r.shared.Canaries.Sent,
	})
	return nil
}

func (r *runner) close() error {
	if r.spool == nil {
		return nil
	}
	return r.spool.Close()
}
