// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// here is this container as confighub run knows it, for commands that look and change nothing. They are run beside
// it, by `docker exec` as a rule, which does not know the state slot: init.json does.
type here struct {
	settings *allSettings
	id       spiffe.ID
	dir      string
	runDir   string
	store    *source.Store
}

func openHere(c *cli.Context, log zerolog.Logger) (*here, error) {
	h := &here{runDir: initctl.RunDir()}
	slot := identity.Slot()
	state := initctl.StateDir()
	if known, err := initctl.ReadState(h.runDir); err == nil && os.Getenv(initctl.EnvStateDir) == "" && known.StateDir != "" {
		state = known.StateDir
		slot, _ = strconv.Atoi(known.Slot) // "-" is a container without a slot, which is as the first
	}
	h.dir = filepath.Join(state, "config")
	var err error
	if h.settings, err = loadSettings(c, log, h.dir); err != nil {
		return nil, err
	}
	if h.id, err = h.settings.Identity.ID(slot); err != nil && !errors.Is(err, identity.ErrUnnamed) {
		return nil, daemon.Usage(err)
	}
	if h.store, err = source.ReadStore(h.dir); err != nil {
		return nil, fmt.Errorf("%w (run this as the container's user, or as root)", err)
	}
	return h, nil
}

// identity is where the container's certificate is.
func (h *here) identity() *identity.Files {
	return identity.Open(filepath.Join(filepath.Dir(h.dir), "identity"))
}

// inputs are what this container adds to a bundle. Without a key that can be read nothing sealed is opened.
func (h *here) inputs(log zerolog.Logger) render.Inputs {
	conf := h.settings.Config
	in := render.Inputs{ID: h.id, Env: environment(conf.Env), Secrets: readSecrets(conf.Secrets, log), Identity: identityPEM(h.identity())}
	if key, err := seal.ReadKey(filepath.Join(filepath.Dir(h.dir), "identity", seal.KeyFile)); err == nil {
		in.Seal = key
	} else if !errors.Is(err, fs.ErrNotExist) {
		log.Warn().Err(err).Msg("what is sealed cannot be opened")
	}
	return in
}

// inPlace is the version that is in place, with its bundle.
func (h *here) inPlace() (bundle.Pointer, *bundle.Bundle, error) {
	p, have := h.store.Current()
	if !have {
		return p, nil, fmt.Errorf("no configuration is in place here: nothing is kept in %s", h.dir)
	}
	b, err := h.store.Bundle(p)
	return p, b, err
}

// readBundle reads the bundle that somebody named. A directory with nothing of one is not an empty bundle, but the wrong one.
func readBundle(dir string) (*bundle.Bundle, error) {
	if info, err := os.Stat(dir); err == nil && info.IsDir() && !bundle.Present(os.DirFS(dir)) {
		return nil, daemon.Usage(fmt.Errorf("%s is no bundle: it holds neither bundle.json nor templates/ nor data/", dir))
	}
	return bundle.Read(os.DirFS(dir))
}

// bundleFlags choose a bundle for commands that look at one.
func bundleFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "bundle", Usage: "`DIR` of a bundle, instead of the one in place in this container"},
		&cli.StringFlag{Name: "root", Usage: "`DIR` of a tree, or with --ref of a git repository, as confighub serve has it, with --as"},
		&cli.StringFlag{Name: "ref", Usage: "`BRANCH` or tag of the git repository"},
		&cli.StringFlag{Name: "as", Usage: "`NAME` of the container: web.shop.vm1"},
	}
}

// givenBundle is the bundle that bundleFlags choose, and what goes with it: made up, unless it is the one in place.
func givenBundle(c, flags *cli.Context) (*bundle.Bundle, render.Inputs, error) {
	dir, root, as := flags.String("bundle"), flags.String("root"), flags.String("as")
	fail := func(err error) (*bundle.Bundle, render.Inputs, error) { return nil, render.Inputs{}, err }
	var id spiffe.ID
	if as != "" {
		var err error
		if id, err = spiffe.ParseBundleName(identity.DefaultTrustDomain, as); err != nil {
			return fail(daemon.Usage(fmt.Errorf("--as: %w", err)))
		}
	}
	switch {
	case dir != "" && root != "":
		return fail(daemon.Usage(errors.New("--bundle and --root exclude each other")))
	case root == "" && flags.String("ref") != "":
		return fail(daemon.Usage(errors.New("--ref goes with --root: it is a branch or tag of that repository")))
	case root != "" && as == "":
		return fail(daemon.Usage(errors.New("--root: say for which container of the tree: --as web.shop.vm1")))
	case root != "":
		t, err := readTree(c.Context, root, flags.String("ref"))
		if err != nil {
			return fail(err)
		}
		b, err := t.Bundle(as)
		if err != nil {
			return fail(err)
		}
		return b, render.StandIns(b, id), nil
	case dir != "":
		b, err := readBundle(dir)
		if err != nil {
			return fail(err)
		}
		return b, render.StandIns(b, id), nil
	case as != "":
		return fail(daemon.Usage(errors.New("--as goes with --bundle or --root: in a container its own name is known")))
	}
	log := daemon.Logger(c.App.Name, c.App.ErrWriter)
	h, err := openHere(c, log)
	if err != nil {
		return fail(err)
	}
	_, b, err := h.inPlace()
	if err != nil {
		return fail(err)
	}
	return b, h.inputs(log), nil
}
