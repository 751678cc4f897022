// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/docroot"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/daemon"
)

// Bounds of --expires: a shorter one runs out between two calls, a longer one says nothing.
const (
	minExpires = time.Minute
	maxExpires = 10 * 365 * 24 * time.Hour
)

// publishCommand is `confighub publish`, the genesis side without a server of ours.
func publishCommand() *cli.Command {
	return &cli.Command{
		Name:  "publish",
		Usage: "compile a configuration tree into files that any static HTTPS server hands out, signed",
		Description: `Makes one bundle for every container that the tree places, as confighub serve does, and writes bundles and
signed pointers below DOCROOT, one rename each, so that it can be served meanwhile. A broken tree changes nothing, and
what is the same stays untouched. The key is needed here only: run it on a machine that is not the server, and copy
DOCROOT there, bundles before the pointers to them:

   ssh-keygen -t ed25519 -f sign.key
   confighub publish --root tree --out docroot --sign sign.key
   rsync -r -t --exclude current docroot/v1 genesis:/srv/docroot/
   rsync -r -t --delete docroot/v1 genesis:/srv/docroot/

It prints the settings with which containers take only what is signed so. To change keys sign with both (--sign OLD
--sign NEW), change config.trusted_keys everywhere, then sign with the new one. With --expires a version that is kept from
a container for so long is not taken any more; publish again within half of that time, from a timer.
docs/publish.md shows the configuration of nginx.`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "`DIR` that holds the tree, or with --ref the git repository"},
			&cli.StringFlag{Name: "ref", Usage: "`BRANCH` or tag of the git repository to read the tree from"},
			&cli.StringFlag{Name: "out", Usage: "`DOCROOT` to write; it is made if it is missing"},
			&cli.BoolFlag{Name: "unsigned", Usage: "do not sign: whoever can write the server's files decides what containers get"},
			&cli.StringFlag{Name: "revision", Usage: "`TEXT` that says for people what this is (default: the commit, or a hash of the tree)"},
			&cli.DurationFlag{Name: "expires", Usage: "`TIME` for which a version may be taken as a new one, such as 720h", DefaultText: "for ever"},
			&cli.Uint64Flag{Name: "above", Usage: "`SERIAL` that the containers have from another server or docroot, which all that is published is to be above", DefaultText: "none"},
		}, signFlags()...),
		Action: publishTree,
	}
}

func publishTree(c *cli.Context) error {
	if err := daemon.Missing(c, "root", "out"); err != nil {
		return err
	}
	if err := checkPublish(c); err != nil {
		return daemon.Usage(err)
	}
	if err := apartFromTree(c, "out"); err != nil {
		return err
	}
	keys, err := signingKeys(c, func(warning string) { fmt.Fprintln(c.App.ErrWriter, "warning: "+warning) })
	if err != nil {
		return err
	}
	read, blobs, err := compileTree(c)
	if err != nil {
		return err
	}
	if len(blobs) == 0 {
		return fmt.Errorf("the tree in %s places no container, so that nothing would be left: is it the right directory?", c.String("root"))
	}
	o := docroot.Options{Keys: keys, Revision: c.String("revision"), Expires: c.Duration("expires"), Above: c.Uint64("above"), Now: time.Now()}
	if o.Revision == "" {
		o.Revision = read.Revision
	}
	result, err := docroot.Publish(c.String("out"), read, blobs, o)
	if err != nil {
		return err
	}
	return sayPublished(c.App.Writer, result, o)
}

func checkPublish(c *cli.Context) error {
	expires := c.Duration("expires")
	switch {
	case len(c.StringSlice("sign")) == 0 && !c.Bool("unsigned"):
		return errors.New("--sign KEY is missing (ssh-keygen -t ed25519 makes one); --unsigned publishes without")
	case len(c.StringSlice("sign")) > 0 && c.Bool("unsigned"):
		return errors.New("--sign and --unsigned exclude each other")
	case c.Uint64("above") >= bundle.MaxSerial:
		return fmt.Errorf("--above must be less than %d, got %d", uint64(bundle.MaxSerial), c.Uint64("above"))
	case c.IsSet("expires") && (expires < minExpires || expires > maxExpires):
		return fmt.Errorf("--expires must be between %s and %s, got %s", minExpires, maxExpires, expires)
	}
	return nil
}

// compileTree reads the tree of --root and --ref and makes its bundles.
func compileTree(c *cli.Context) (*tree.Tree, map[string]*tree.Blob, error) {
	read, err := readTree(c.Context, c.String("root"), c.String("ref"))
	if err != nil {
		return nil, nil, err
	}
	blobs, err := new(tree.Compiler).Compile(read)
	return read, blobs, err
}

// sayPublished prints what was done, and the settings that go with the keys.
func sayPublished(w io.Writer, r docroot.Result, o docroot.Options) error {
	line := counted(r.Containers, "container") + ": "
	switch {
	case r.Changed == 0:
		line += "none changed"
	default:
		line += fmt.Sprintf("%d changed, serial %d, revision %s", r.Changed, r.Serial, o.Revision)
	}
	if r.Resealed > 0 {
		line += fmt.Sprintf("; %d have the same version in a new envelope", r.Resealed)
	}
	if r.Removed > 0 {
		line += fmt.Sprintf("; %d are no longer placed and removed", r.Removed)
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	if len(o.Keys) == 0 {
		_, err := fmt.Fprintln(w, "unsigned: whoever can write these files decides what the containers get")
		return err
	}
	var trusted []string
	for _, key := range o.Keys {
		trusted = append(trusted, bundle.FormatPublicKey(key.Public().(ed25519.PublicKey)))
	}
	settings, err := json.Marshal(map[string]any{"config": map[string]any{"trusted_keys": trusted}})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "settings of the containers: %s\n", settings)
	return err
}
