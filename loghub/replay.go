// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/where"
)

func replayCommand() *cli.Command {
	return daemon.WithArguments(cli.Command{
		Name:      "replay",
		Usage:     "send again what the receiver refused: dead letters",
		ArgsUsage: "[UID…]",
		Description: `An event that a receiver refuses for good goes to dead.jsonl beside the spool. This sends all of them again, or
those that are named or match, under the same log.record.uid. What is acknowledged is taken out of the file; what is
refused again stays, with the new reason and time. loghub run may work meanwhile. A replay that is killed costs nothing;
the next one may send twice.

   docker exec web loghub replay --list
   docker exec web loghub replay
   docker exec web loghub replay hodltcynxsst.8002
   docker exec web loghub replay --where 'hub.dead.error~"too large"' --to https://genesis.internal:4319

Expressions are those of loghub tail; hub.dead.error is what the receiver said. --to sends with the same identity, but without
log.headers, which are for the configured receiver.

Exit code 0: all were acknowledged, or there is none; 1: some were refused again, or not sent; 2 wrong usage or settings.`,
	}, replayFlags, 0, -1, nil, replayAction)
}

func replayFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "list", Aliases: []string{"l"},
			Usage: "send nothing: show when and why each was refused, and its first words"},
		&cli.BoolFlag{Name: "json", Usage: "with --list: one JSON object a line"},
		&cli.StringFlag{Name: "where", Usage: "take those that match the `EXPRESSION`"},
		&cli.StringFlag{Name: "dir", Usage: "`DIR` of the dead letters", DefaultText: "<state>/log"},
		&cli.StringFlag{Name: "to", Usage: "send to the receiver at `URL`", DefaultText: "that of log.otlp"},
		&cli.StringFlag{Name: "engine", Usage: "with --to: what stands there, as log.engine", Value: "loghub"},
		&cli.StringFlag{Name: "otlp-path", Usage: "with --to: `PATH` there", DefaultText: "the engine's"},
		&cli.GenericFlag{Name: "header", Value: new(daemon.Repeated),
			Usage: "with --to: a header, `NAME=VALUE`; may be given several times"},
	}
}

// letters are what a replay is about.
type letters struct {
	dir    string
	uids   map[string]bool // nil: all
	filter *where.Filter   // nil: all
	found  map[string]bool // of uids
}

func replayAction(c *cli.Context, uids []string) error {
	adoptSlot(initctl.RunDir())
	l := &letters{dir: c.String("dir"), found: map[string]bool{}}
	if l.dir == "" {
		l.dir = filepath.Join(initctl.StateDir(), "log")
	}
	if len(uids) > 0 {
		l.uids = map[string]bool{}
		for _, uid := range uids {
			l.uids[uid] = true
		}
	}
	if text := c.String("where"); text != "" {
		f, err := where.Compile(text, time.Now())
		if err != nil {
			return daemon.Usage(fmt.Errorf("--where: %w", err))
		}
		l.filter = f
	}
	for _, name := range []string{"engine", "otlp-path", "header"} {
		if c.IsSet(name) && c.String("to") == "" {
			return daemon.Usage(fmt.Errorf("--%s goes with --to; the configured receiver has its own", name))
		}
	}
	if c.Bool("json") && !c.Bool("list") {
		return daemon.Usage(errors.New("--json goes with --list"))
	}
	if _, err := os.ReadDir(l.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (run this as loghub's user or root)", err)
	} else if err != nil && c.String("dir") != "" {
		return err
	}
	if c.Bool("list") {
		return l.list(c)
	}
	return l.send(c)
}

// adoptSlot makes this process, which docker exec starts as a rule, know the state slot of its container, as hubinit's hubs do.
func adoptSlot(runDir string) {
	if os.Getenv(initctl.EnvStateDir) != "" {
		return
	}
	if st, err := initctl.ReadState(runDir); err == nil && st.StateDir != "" {
		_ = os.Setenv(initctl.EnvStateDir, st.StateDir) // fails for names that are none
		_ = os.Setenv(initctl.EnvSlot, st.Slot)
	}
}

// want says whether a letter is one of those that are meant.
func (l *letters) want(s *sink.Stored) bool {
	if l.uids != nil && !l.uids[s.UID] || l.filter != nil && (s.Err != nil || !l.filter.Match(&s.Shown)) {
		return false
	}
	l.found[s.UID] = true
	return true
}

// missing says which of the named ones there are not.
func (l *letters) missing() error {
	var none []string
	for _, uid := range slices.Sorted(maps.Keys(l.uids)) {
		if !l.found[uid] {
			none = append(none, uid)
		}
	}
	if len(none) == 0 {
		return nil
	}
	return fmt.Errorf("no dead letter has the uid %s: loghub replay --list shows those there are", strings.Join(none, ", "))
}

// receiverOf is where a replay sends to.
func receiverOf(c *cli.Context, settings Settings) (receiver, error) {
	address := c.String("to")
	if address == "" {
		to := settings.receiver(os.Getenv)
		if to.url == "" {
			return to, daemon.Usage(errors.New("there is no receiver: set log.otlp, or name one with --to"))
		}
		return to, nil
	}
	if err := sink.CheckURL(address, settings.Unsafe); err != nil {
		return receiver{}, daemon.Usage(fmt.Errorf("--to: %w", err))
	}
	other := Settings{
		OTLP: address, Engine: c.String("engine"), Path: c.String("otlp-path"), Unsafe: settings.Unsafe, Headers: map[string]string{},
	}
	if known := sink.Engines(); !slices.Contains(known, other.Engine) {
		return receiver{}, daemon.Usage(fmt.Errorf("--engine: must be one of %s, got %q", strings.Join(known, ", "), other.Engine))
	}
	for _, text := range c.Generic("header").(*daemon.Repeated).Values {
		name, value, ok := strings.Cut(text, "=")
		if !ok || badHeader(name, value) {
			return receiver{}, daemon.Usage(fmt.Errorf("--header: must be NAME=VALUE"))
		}
		other.Headers[name] = value
	}
	var wrong error
	other.CheckSettings(func(key, message string) {
		if key == "otlp_path" {
			wrong = fmt.Errorf("--otlp-path: %s", message)
		}
	})
	return other.receiver(func(string) string { return "" }), daemon.Usage(wrong)
}

// send sends the letters, and says what became of them.
func (l *letters) send(c *cli.Context) error {
	var id identity.Settings
	var settings Settings
	_, err := daemon.Settings(c, zerolog.Nop(),
		hubfile.Section{Name: "identity", Into: &id}, hubfile.Section{Name: "log", Into: &settings})
	if err != nil {
		return err
	}
	to, err := receiverOf(c, settings)
	if err != nil {
		return err
	}
	// A stop (^Z) in the instant in which a file is replaced would keep loghub run waiting.
	signal.Ignore(syscall.SIGTSTP)
	files := identity.Open(identity.Dir())
	sender := sink.New(sink.Options{
		URL: to.url, Headers: to.headers, TLS: to.tls, Timeout: to.timeout, Plain: to.plain, Files: files,
		Resource: newResource(files, id).attributes, Scope: otlp.Scope{Name: "loghub", Version: daemon.Version()},
		Log: zerolog.Nop(), Changed: func() {},
	})
	r := &sink.Replay{Dir: l.dir, Want: l.want, Send: sender.Resend}
	if _, err = os.Stat(l.dir); err == nil {
		err = r.Run(c.Context)
	} else if errors.Is(err, fs.ErrNotExist) { // nothing was ever refused
		err = nil
	}
	if err == nil || r.Acked+r.Refused > 0 {
		fmt.Fprintln(c.App.Writer, l.sum(r, to.url))
	}
	if err != nil {
		return fmt.Errorf("%w; what was not acknowledged is kept", err)
	}
	if err := l.missing(); err != nil {
		return err
	}
	if r.Refused+r.Unsent > 0 {
		return fmt.Errorf("the last reason: %s", r.LastReason)
	}
	return nil
}

// sum is what a replay has done.
func (l *letters) sum(r *sink.Replay, address string) string {
	if r.Acked+r.Refused+r.Unsent == 0 {
		if l.uids != nil || l.filter != nil {
			return "no dead letter was sent"
		}
		return "there are no dead letters"
	}
	words := fmt.Sprintf("%s sent again and acknowledged by %s", counted(r.Acked, "dead letter"), address)
	if r.Refused > 0 {
		words += fmt.Sprintf(", %d refused again and kept", r.Refused)
	}
	if r.Unsent > 0 {
		words += fmt.Sprintf(", %d that cannot be read kept", r.Unsent)
	}
	return words
}
