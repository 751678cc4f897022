// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/control"
	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/confighub/internal/telemetry"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// runCommand is `confighub run`, the hub in the container.
func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "keep this container's identity and configuration",
		Description: `Started by hubinit. Enrols with HUB_TOKEN or HUB_TOKEN_FILE, fetches the bundle, puts it in place and then says
"ready", which opens the gate for the service. Without a source it is identity alone; without identity.ca_url,
source and bundle there is nothing to do, and it ends with 0.

With a last-good bundle it waits config.start_wait for the source and then starts from that, marked stale.
Without one it waits, saying every five seconds what for. Bad settings: it runs on the last that were good,
else it ends with 2. Told to stop before it was ready, though the container is not stopping, it ends with 1, so that
the service does not start without its configuration.

confighub hold, resume, rollback and accept ask it over config.sock in the run directory.`,
		Action: daemon.Service(runHub),
	}
}

func runHub(c *cli.Context, log zerolog.Logger) error {
	defer daemon.Small(1, 25)()
	ctl, err := initctl.FromEnv()
	if err != nil {
		return err
	}
	dir := filepath.Join(initctl.StateDir(), "config")
	settings, err := loadSettings(c, log, dir)
	if err != nil {
		return err
	}
	h, err := newHub(settings, ctl, dir, c.String("config"), log)
	if err != nil {
		return err
	}
	if h == nil {
		log.Info().Msg("nothing to do: no identity.ca_url, no config.source, no bundle beside the settings")
		node := health.Node{Kind: health.KindHub, Name: "config", State: health.Pass, Text: "nothing to do"}
		if err := health.WriteFile(ctl.RunDir(), health.ConfigFile, node, nil, 0); err != nil {
			log.Warn().Err(err).Msg("writing the state file")
		}
		return nil // without a ready: hubinit takes that for done
	}
	if _, err := h.sealKey(); err != nil {
		log.Warn().Err(err).Msg("what is sealed for this container cannot be opened")
	}
	h.tel, err = telemetry.New(c.Context, daemon.Version(), h.id.String())
	if err != nil {
		log.Warn().Err(err).Msg("telemetry is off")
	}
	tasks := []daemon.Task{
		{Name: "keeping the identity", Run: h.keeper.Run},
		{Name: "applying", Run: h.loop},
		{Name: "reporting", Run: h.reports.run},
		{Name: "answering", Run: (&control.Server{RunDir: h.runDir, Do: h.askLoop, Log: log}).Run},
	}
	if h.src != nil {
		tasks = append(tasks, daemon.Task{Name: "watching the source", Run: h.watch})
	}
	err = errors.Join(daemon.Run(c.Context, tasks...), h.tel.Close())
	if err == nil && h.cutOff() {
		return errCutOff
	}
	return err
}

// errCutOff ends a confighub that somebody stopped while the service waited for it. With 0 it would be done, which
// opens the gate; so hubinit starts it again.
var errCutOff = errors.New("told to stop before the configuration was in place, though the container is not stopping")

// cutOff reports whether this run ends before it opened the gate, and its container does not end with it.
func (h *hub) cutOff() bool {
	if h.ready || !h.ctl.Supervised() {
		return false
	}
	state, err := initctl.ReadState(h.runDir)
	return err != nil || state.Stopping == ""
}

// loadSettings loads the settings, or, when they are bad and a configuration is in place, the last good ones.
func loadSettings(c *cli.Context, log zerolog.Logger, dir string) (*allSettings, error) {
	s := new(allSettings)
	_, err := daemon.Settings(c, log, s.sections()...)
	if err == nil {
		err = daemon.Usage(s.contradiction())
	}
	if err == nil {
		return s, nil
	}
	good, goodErr := loadGood(dir)
	store, storeErr := source.ReadStore(dir)
	if goodErr != nil || storeErr != nil {
		return nil, err
	}
	if _, have := store.Current(); !have {
		return nil, err
	}
	log.Error().Msg(err.Error())
	log.Warn().Msg("the settings are wrong: this start uses the last that were good")
	good.stand = err.Error()
	return good, nil
}

// newHub wires the parts. It returns nil when the settings leave nothing to do.
func newHub(s *allSettings, ctl *initctl.Hub, dir, settingsFile string, log zerolog.Logger) (*hub, error) {
	h := &hub{
		conf: s.Config, settings: s, ctl: ctl, log: log, dir: dir, runDir: ctl.RunDir(), slot: identity.Slot(),
		events: make(chan source.Event), asks: make(chan ask), drift: newDrift(s.Config.Drift, s.Config.DriftEvery),
		file: newStateFile(ctl.RunDir(), log), tel: &telemetry.Telemetry{}, transaction: &telemetry.Transaction{},
	}
	settingsFile, err := filepath.Abs(settingsFile)
	if err != nil {
		return nil, fmt.Errorf("finding the settings: %w", err)
	}
	h.conf.Source = sourceBeside(h.conf.Source, settingsFile)
	if s.Identity.CAURL == "" && h.conf.Source == "" {
		return nil, nil
	}
	if h.id, err = s.Identity.ID(h.slot); err != nil && !errors.Is(err, identity.ErrUnnamed) {
		return nil, daemon.Usage(err)
	}
	tokens, err := enrol.TokensFrom(os.Getenv)
	if err != nil {
		return nil, daemon.Usage(err)
	}
	h.keeper, err = enrol.New(enrol.Config{
		Settings: s.Identity, Slot: h.slot, Dir: identity.Dir(), RunDir: h.runDir, Tokens: tokens, Log: log,
	})
	if err != nil {
		return nil, daemon.Usage(err)
	}
	if h.store, err = source.OpenStore(dir); err != nil {
		log.Warn().Err(err).Msg("what was kept of bundles is lost")
	}
	h.applier = apply.New(apply.Options{
		Dir: dir, RunDir: h.runDir, Control: ctl, Settle: h.conf.Settle, DriftPolicy: h.conf.Drift, Log: log,
		Step:   func(name string) { h.transaction.Step(name) },
		Policy: h.conf.policy(append(settingsPlaces(settingsFile), h.runDir, initctl.VarDir(), initctl.StateDir())...),
	})
	if h.conf.Source == "" {
		h.reports = newReporter(nil, h.store, h.id.Instance, log)
		return h, nil
	}
	if h.src, err = h.openSource(); err != nil {
		return nil, daemon.Usage(fmt.Errorf("config.source: %w", err))
	}
	h.reports = newReporter(h.src, h.store, h.id.Instance, log)
	return h, nil
}

// sourceBeside is the source of the settings, or without one the bundle beside them, if there is one.
func sourceBeside(source, settingsFile string) string {
	beside := filepath.Join(filepath.Dir(settingsFile), "bundle")
	if _, err := os.Stat(beside); source != "" || err != nil {
		return source
	}
	return "dir:" + beside
}

// settingsPlaces are the settings and what the hubs read beside them, which no bundle may write.
func settingsPlaces(file string) []string {
	places := []string{file}
	for _, name := range []string{"hub.d", "bundle", "init.d", "stop.d"} {
		places = append(places, filepath.Join(filepath.Dir(file), name))
	}
	return places
}

// judge is what the source, and later the loop, takes for new.
func (h *hub) judge(p bundle.Pointer) error {
	return h.store.Accept(p, h.conf.MinSerial, time.Now())
}

// judgeDir is judge for a directory, which takes nothing away because it is empty: as a rule it is not mounted then.
func (h *hub) judgeDir(dir string) source.Accept {
	return func(p bundle.Pointer) error {
		if err := h.judge(p); err != nil {
			return err
		}
		if _, have := h.store.Current(); have && !bundle.Present(os.DirFS(dir)) {
			return fmt.Errorf("%s is empty, and held a bundle before: is it mounted? A bundle.json without targets takes everything away", dir)
		}
		return nil
	}
}

func (h *hub) openSource() (source.Source, error) {
	kind, where, err := h.conf.sourceKind()
	if err != nil {
		return nil, err
	}
	if kind == "dir" {
		serial := func(digest string) uint64 { return h.store.DirSerial(digest, time.Now()) }
		name := "local"
		if h.id != (spiffe.ID{}) {
			name = h.id.BundleName()
		}
		return source.NewDir(where, name, serial, h.judgeDir(where), h.log), nil
	}
	h.remote = true
	remote, err := source.NewRemote(source.RemoteOptions{
		URL: where, ID: h.id, Files: h.keeper.Files(), TrustedKeys: h.conf.trustedKeys(), Poll: h.conf.Poll, Accept: h.judge, Log: h.log,
	})
	if err != nil {
		return nil, err
	}
	h.signer = remote.Signer
	return remote, nil
}
