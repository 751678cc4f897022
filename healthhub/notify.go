// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/notify"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

func notifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "notify",
		Usage: "list who is told what is wrong, or send somebody a test",
		Description: "Without --test it lists the receivers of health.notify. With it, it sends one a message that says that it is a test, once,\n" +
			"and says what came back. It reads the settings that serve reads, and the same files of secrets: run it where serve runs.\n\n" +
			"   healthhub notify --test phone",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "test", Usage: "`NAME` of the receiver to send a test to"},
			&cli.StringFlag{Name: "identity", Value: identity.Dir(), Usage: "`DIR` of roots.pem, for receivers with \"ca\": \"fleet\""},
		},
		Action: func(c *cli.Context) error {
			s, sections := newSettings()
			if _, err := daemon.Settings(c, zerolog.Nop(), sections...); err != nil {
				return err
			}
			if name := c.String("test"); name != "" {
				return sendTrial(c, s.health, name)
			}
			listReceivers(c, s.health)
			return nil
		},
	}
}

func listReceivers(c *cli.Context, s setting.Settings) {
	if len(s.Notify) == 0 {
		fmt.Fprintln(c.App.Writer, "nobody is told: the settings have no health.notify")
		return
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "RECEIVER\tKIND\tTOLD\tEVERY\tREMIND")
	for _, name := range slices.Sorted(maps.Keys(s.Notify)) {
		r := s.Notify[name]
		remind := "never"
		if r.Remind > 0 {
			remind = setting.Words(r.Remind)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, firstOf(r.Preset, "webhook"), r.Min, setting.Words(r.Every), remind)
	}
}

// sendTrial sends a test and says what came of it.
func sendTrial(c *cli.Context, s setting.Settings, name string) error {
	r, ok := s.Notify[name]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(s.Notify)), ", ")
		return daemon.Usage(fmt.Errorf("health.notify has no %q; it has %s", name, firstOf(names, "nobody")))
	}
	hook, err := webhook.New(r.Form(), identity.Open(c.String("identity")))
	if err != nil {
		return daemon.Usage(fmt.Errorf("health.notify.%s: %w", name, err))
	}
	defer hook.Close()
	answer, err := hook.Send(c.Context, notify.Trial(name, time.Now()))
	if err != nil {
		return fmt.Errorf("%s: the test did not arrive: %w", name, err)
	}
	fmt.Fprintf(c.App.Writer, "%s: %s took the test: %s, after %s\n", name, answer.Host, answer.Status, answer.Took.Round(time.Millisecond))
	return nil
}

// notices tell people, and somebody outside that serve is alive.
type notices struct {
	notifier *notify.Notifier
	deadman  *notify.DeadMan // nil: nobody
}

func newNotices(s setting.Settings, files *identity.Files, source func() page.Snapshot, stateDir string, changed func(), log zerolog.Logger) (*notices, error) {
	config := notify.Config{Source: source, StateDir: stateDir, Changed: changed, Log: log}
	for _, name := range slices.Sorted(maps.Keys(s.Notify)) {
		r := s.Notify[name]
		hook, err := webhook.New(r.Form(), files)
		if err != nil {
			return nil, fmt.Errorf("health.notify.%s: %w", name, err)
		}
		config.Receivers = append(config.Receivers, notify.Receiver{Name: name, Hook: hook, Min: r.Least(), Every: r.Every, Remind: r.Remind})
	}
	out := &notices{notifier: notify.New(config)}
	if s.Deadman.Given() {
		ping, err := webhook.New(s.Deadman.Form(), files)
		if err != nil {
			return nil, fmt.Errorf("health.deadman: %w", err)
		}
		out.deadman = &notify.DeadMan{
			Ping: ping, Every: s.Deadman.Every, Source: source, Alive: out.notifier.Alive, StateDir: stateDir, Changed: changed, Log: log,
		}
	}
	return out, nil
}

// with adds checks of how all that fares to those of this machine.
func (n *notices) with(own func() []health.Node) func() []health.Node {
	return func() []health.Node {
		nodes := slices.Concat(own(), n.notifier.Nodes())
		if n.deadman != nil {
			nodes = append(nodes, n.deadman.Nodes()...)
		}
		return nodes
	}
}

func (n *notices) tasks() []daemon.Task {
	tasks := []daemon.Task{{Name: "telling people", Run: n.notifier.Run}}
	if n.deadman != nil {
		tasks = append(tasks, daemon.Task{Name: "telling the outside", Run: n.deadman.Run})
	}
	return tasks
}
