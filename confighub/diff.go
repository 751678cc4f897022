// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/changes"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/initctl"
)

// askTimeout bounds how long diff waits for the source.
const askTimeout = 15 * time.Second

// diffCommand is `confighub diff`.
func diffCommand() *cli.Command {
	return &cli.Command{
		Name:  "diff",
		Usage: "show what would change in this container now",
		Description: `Renders the newest version that the source has, as confighub run does, also one that a hold keeps from being taken,
and compares every target with the file in place: content, mode, owner, and the environment of the service. It changes
nothing and runs no check. When the source does not answer, it compares the version in place, which shows what
somebody changed by hand. Secrets are shown as ***, and a target that is nothing else by its name alone.

Run it as the container's user, or as root: docker exec CONTAINER confighub diff

Exit codes are those of diff(1): 0 nothing would change, 1 something would, 2 trouble.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`DIR` of a bundle to compare with, instead of the newest version"},
			&cli.BoolFlag{Name: "in-place", Usage: "compare the version in place, without asking the source"},
		},
		Action: func(c *cli.Context) error {
			err := runDiff(c)
			if err != nil && !errors.Is(err, daemon.ErrSaid) {
				return daemon.Usage(err) // 1 is "differs"
			}
			return err
		},
	}
}

func runDiff(c *cli.Context) error {
	log := daemon.Logger(c.App.Name, c.App.ErrWriter)
	h, err := openHere(c, log)
	if err != nil {
		return err
	}
	b, err := h.wanted(c, log)
	if err != nil {
		return err
	}
	if h.settings.Config.Strict {
		strict := *b
		strict.Manifest.Strict = true
		b = &strict
	}
	in := h.inputs(log)
	out, err := render.Render(b, in)
	if err != nil {
		return err
	}
	settingsFile, err := filepath.Abs(daemon.Source(c).Path)
	if err != nil {
		return err
	}
	state := h.dir
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		// Nothing ran here yet, and looking makes no state.
		if state, err = os.MkdirTemp("", "confighub-diff-"); err != nil {
			return err
		}
		defer os.RemoveAll(state)
	}
	previews, reloads, err := apply.New(apply.Options{
		Dir: state, RunDir: h.runDir, Log: log,
		Policy: h.settings.Config.policy(append(settingsPlaces(settingsFile), h.runDir, initctl.VarDir(), filepath.Dir(h.dir))...),
	}).Preview(out)
	if err != nil {
		return err
	}
	var list []changes.Change
	shower := newShower(h, b, in, out)
	for _, p := range previews {
		list = append(list, shower.change(p))
	}
	if names := actionNames(reloads); names != "" {
		fmt.Fprintln(c.App.ErrWriter, "then: "+names)
	}
	return showChanges(c, list)
}

func actionNames(actions []bundle.Action) string {
	var names []string
	for _, action := range actions {
		names = append(names, action.String())
	}
	return strings.Join(names, ", ")
}

// wanted is the bundle to compare with, which is named on stderr.
func (h *here) wanted(c *cli.Context, log zerolog.Logger) (*bundle.Bundle, error) {
	say := func(format string, args ...any) { fmt.Fprintf(c.App.ErrWriter, format+"\n", args...) }
	if dir := c.String("from"); dir != "" {
		return readBundle(dir)
	}
	if !c.Bool("in-place") {
		offer, err := h.newest(c, log)
		switch {
		case err == nil && offer.Err != nil:
			return nil, offer.Err
		case err == nil:
			say("version %s of %s", offer.Version(), h.settings.Config.Source)
			return offer.Bundle, nil
		case !errors.Is(err, errNoSource):
			say("the source does not answer: %v", err)
		}
	}
	p, b, err := h.inPlace()
	if err == nil {
		say("version %s, which is in place", p.Version())
	}
	return b, err
}

var errNoSource = errors.New("no source is set")

// newest asks the source for the newest version, whatever was taken before.
func (h *here) newest(c *cli.Context, log zerolog.Logger) (source.Offer, error) {
	settingsFile, err := filepath.Abs(daemon.Source(c).Path)
	if err != nil {
		return source.Offer{}, err
	}
	conf := &h.settings.Config
	if conf.Source = sourceBeside(conf.Source, settingsFile); conf.Source == "" {
		return source.Offer{}, errNoSource
	}
	kind, where, err := conf.sourceKind()
	if err != nil {
		return source.Offer{}, err
	}
	any := func(bundle.Pointer) error { return nil }
	if kind == "dir" {
		serial := func(digest string) uint64 { return h.store.DirSerial(digest, time.Now()) }
		return source.NewDir(where, "local", serial, any, log).Read()
	}
	remote, err := source.NewRemote(source.RemoteOptions{
		URL: where, ID: h.id, Files: h.identity(), TrustedKeys: conf.trustedKeys(), Poll: conf.Poll, Accept: any, Log: log,
	})
	if err != nil {
		return source.Offer{}, err
	}
	return first(c.Context, remote)
}

// first is the first that a source has to say.
func first(ctx context.Context, s source.Source) (source.Offer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer in %s", askTimeout))
	defer cancel()
	events, ended := make(chan source.Event), make(chan error, 1)
	go func() { ended <- s.Run(ctx, events) }()
	select {
	case e := <-events:
		cancel()
		<-ended
		switch {
		case e.Err != nil:
			return source.Offer{}, e.Err
		case e.Offer == nil:
			return source.Offer{}, errors.New("it has nothing new")
		}
		return *e.Offer, nil
	case <-ctx.Done():
		<-ended
		return source.Offer{}, context.Cause(ctx)
	}
}

// shower makes what people see of previews.
type shower struct {
	bundle *bundle.Bundle
	in     render.Inputs
	out    *render.Output
	// known: target → its text by the version in place.
	known map[string]changes.Text
	// env and knownEnv are the environment of the service, wanted and by the version in place.
	env, knownEnv changes.Text
}

func newShower(h *here, b *bundle.Bundle, in render.Inputs, out *render.Output) *shower {
	s := &shower{bundle: b, in: in, out: out, known: map[string]changes.Text{}}
	s.env, _ = changes.Environment(b, in, out)
	_, old, err := h.inPlace()
	if err != nil {
		return s
	}
	was, err := render.Render(old, in)
	if err != nil {
		return s
	}
	for _, f := range was.Files {
		s.known[f.Path] = changes.Target(old, in, f)
	}
	s.knownEnv, _ = changes.Environment(old, in, was)
	return s
}

func (s *shower) change(p apply.Preview) changes.Change {
	change := changes.Change{Name: p.Path, Old: seen(p.Old), New: seen(p.New), Text: changes.Plain(p.New.Bytes), Redact: s.out.Redact}
	if p.Env {
		change.Name, change.Text, change.Known = "the environment of the service", s.env, []changes.Text{s.knownEnv}
		change.Old.Bytes, change.New.Bytes = variables(p.Old.Bytes), variables(p.New.Bytes)
		return change
	}
	leaves := true
	for _, f := range s.out.Files {
		if f.Path == p.Path {
			change.Text, leaves = changes.Target(s.bundle, s.in, f), false
		}
	}
	if known, ok := s.known[p.Path]; ok {
		change.Known = []changes.Text{known}
	} else if leaves && p.Secret {
		change.Known = []changes.Text{changes.Secret(p.Old.Bytes)}
	}
	return change
}

// seen is a file as it is compared.
func seen(f apply.File) changes.File {
	file := changes.File{Exists: f.Exists, Bytes: f.Bytes, Mode: f.Mode}
	if f.Exists {
		file.Owner = fmt.Sprintf("%d:%d", f.UID, f.GID)
	}
	return file
}
