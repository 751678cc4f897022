// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/confighub/internal/webhook"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// serveCommand is `confighub serve`, the genesis side.
func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "publish a configuration tree to the fleet, over mTLS",
		Description: `Reads the tree (defaults/, services/, stacks/, hosts/), makes one bundle for every container that a
hosts/<host>/host.json places, and hands each container its own. A change of the tree is published
after 100 ms of quiet; a broken tree changes nothing, and its errors are logged with file and line.

   hosts/vm1/host.json   {"stacks": {"shop": {"services": ["web", "db"]}}}

With --ref the tree is that of a branch or tag of the git repository DIR, bare or not: every commit it moves to is
published at once, under the count of commits on its line of first parents as serial. Only its objects are read;
no setting, hook or filter of the repository counts. Serials never go back: after a forced push to fewer commits they
go on upwards, and a restored genesis needs its state directory for that. --webhook takes the hooks of GitHub, Gitea and
Forgejo, for repositories on mounts that do not tell of changes:

   confighub serve --root /srv/git/fleet.git --ref main --webhook 127.0.0.1:8445 --webhook-secret FILE

The identity must be that of genesis/config; serve waits for it, so that it can run as the service of a
container in which confighub enrols. Serials and what is published are kept in the state directory.
With --sign a container that names the key in config.trusted_keys takes nothing that it did not sign.
Operators ask for the fleet with confighub fleet; they and genesis/health read GET /metrics (OpenMetrics).
TERM and INT end it. Exit codes: 0 told to stop, 1 failed, 2 wrong usage.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "`DIR` that holds the tree, or with --ref the git repository"},
			&cli.StringFlag{Name: "ref", Usage: "`BRANCH` or tag of the git repository to read the tree from"},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to serve on", Value: ":8443"},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` of id.pem and roots.pem (default: this container's)"},
			&cli.StringFlag{Name: "state", Usage: "`DIR` of what outlives a restart (default: <state>/serve)"},
			&cli.BoolFlag{Name: "check", Usage: "read the tree, say everything that is wrong with it, and exit"},
			&cli.StringFlag{Name: "webhook", Usage: "`ADDRESS` to take POST /webhook on, plain HTTP: for loopback or a network of this machine"},
			&cli.StringFlag{Name: "webhook-secret", Usage: "`FILE` of the secret that webhooks are signed with"},
		}, signFlags()...),
		Action: func(c *cli.Context) error {
			if err := daemon.Missing(c, "root"); err != nil {
				return err
			}
			if c.Bool("check") {
				return checkTree(c)
			}
			return daemon.Service(runServe)(c)
		},
	}
}

// collectAt makes the collector of garbage run when the heap has grown by a quarter. Most of it are connections that wait,
// which live on: at the default, which lets it double, they would cost twice their size. GOGC still counts.
const collectAt = 25

func runServe(c *cli.Context, log zerolog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	o := serve.Options{
		Root: c.String("root"), Ref: c.String("ref"), State: c.String("state"), Listen: c.String("listen"),
		Webhook: c.String("webhook"), IdentityDir: c.String("identity"), Log: log,
	}
	if err := apartFromTree(c, "state"); err != nil {
		return err
	}
	if o.State == "" {
		o.State = filepath.Join(initctl.StateDir(), "serve")
	}
	if o.IdentityDir == "" {
		o.IdentityDir = identity.Dir()
	}
	o.Files = identity.Open(o.IdentityDir)
	var err error
	if o.WebhookSecret, err = webhookSecret(c); err != nil {
		return err
	}
	if o.Keys, err = signingKeys(c, func(warning string) { log.Warn().Msg(warning) }); err != nil {
		return err
	}
	for _, key := range o.Keys {
		log.Info().Str("trusted_key", bundle.FormatPublicKey(key.Public().(ed25519.PublicKey))).Msg("every version is signed")
	}
	return serve.Run(c.Context, o)
}

// webhookSecret reads what the two flags of webhooks ask for.
func webhookSecret(c *cli.Context) ([]byte, error) {
	address, file := c.String("webhook"), c.String("webhook-secret")
	switch {
	case address == "" && file == "":
		return nil, nil
	case address == "" || file == "":
		return nil, daemon.Usage(errors.New("--webhook and --webhook-secret go together: a hook is taken by its signature alone"))
	case c.String("ref") == "":
		return nil, daemon.Usage(errors.New("--webhook is for a git repository: give --ref, or leave it out, as a directory is watched"))
	}
	return webhook.ReadSecret(file)
}

// counted is how many there are, in words: 1 container, 2 containers.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// apartFromTree says that a directory which is written to lies within the tree, which may hold nothing else.
func apartFromTree(c *cli.Context, flag string) error {
	if c.String("ref") != "" || c.String(flag) == "" {
		return nil // what git holds was committed
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(c.String(flag))
	if err != nil {
		return err
	}
	if below, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(below) {
		return daemon.Usage(fmt.Errorf("--%s: %s lies in the tree of --root, which would be broken by it: put it beside the tree", flag, c.String(flag)))
	}
	return nil
}

// checkTree is `confighub serve --check`, for the hook or the job that looks after a tree.
func checkTree(c *cli.Context) error {
	read, blobs, err := compileTree(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "the tree is good: revision %s, %s\n", read.Revision, counted(len(blobs), "container"))
	return err
}
