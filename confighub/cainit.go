// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/internal/daemon"
)

// caInitCommand is "confighub ca-init": it makes the directory of a new step-ca for the fleet.
func caInitCommand() *cli.Command {
	return &cli.Command{
		Name:  "ca-init",
		Usage: "make the directory of a new step-ca: root, intermediate, ca.json and the key that mints tokens",
		Description: "Prints the root's fingerprint (identity.ca_fingerprint). Start the authority with\n\n" +
			"   step-ca --password-file DIR/secrets/password DIR/config/ca.json\n\n" +
			"and mint tokens with \"confighub token --key DIR/secrets/enrol.jwk\". An authority that is there already is left alone (exit 1).\n" +
			"Keep DIR/secrets at the genesis: whoever has the key of the provisioner can be anybody.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Usage: "`DIR`ectory to make"},
			&cli.StringFlag{Name: "seen-as", Usage: "`PATH` of the directory as step-ca sees it, if it runs elsewhere (a container's mount)"},
			&cli.StringFlag{Name: "dns", Usage: "`NAMES` and addresses the authority answers to, with commas between", Value: "genesis.internal"},
			&cli.StringFlag{Name: "address", Usage: "`ADDRESS` to listen on", Value: ":9000"},
			&cli.StringFlag{Name: "provisioner", Usage: "`NAME` of the provisioner that takes tokens", Value: enrol.DefaultProvisioner},
		},
		Action: caInit,
	}
}

func caInit(c *cli.Context) error {
	if err := daemon.Missing(c, "dir"); err != nil {
		return err
	}
	dir, err := filepath.Abs(c.String("dir"))
	if err != nil {
		return err
	}
	var names []string
	for name := range strings.SplitSeq(c.String("dns"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return daemon.Usage(fmt.Errorf("--dns is missing"))
	}
	if _, _, err := net.SplitHostPort(c.String("address")); err != nil {
		return daemon.Usage(fmt.Errorf("--address must be [<address>]:<port>, got %q", c.String("address")))
	}
	seenAs := c.String("seen-as")
	if seenAs != "" && !filepath.IsAbs(seenAs) {
		return daemon.Usage(fmt.Errorf("--seen-as must be an absolute path, got %q", seenAs))
	}
	fingerprint, err := enrol.AuthorityDir{
		Dir: dir, SeenAs: seenAs, DNSNames: names, Address: c.String("address"), Provisioner: c.String("provisioner"),
	}.Init()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, fingerprint)
	return err
}
