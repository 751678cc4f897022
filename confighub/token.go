// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// maxReplicas bounds one call; a token is good for an hour at most, so nobody needs more at once.
const maxReplicas = 1000

// tokenCommand is "confighub token": it mints one-time enrolment tokens offline, where the provisioner's private key is.
func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "mint one-time tokens with which a container, host, genesis server or operator gets its first certificate",
		Description: "Prints one token a line. A container takes it from HUB_TOKEN or the file HUB_TOKEN_FILE, once, within its lifetime;\n" +
			"replica n (--replicas) takes line n. The network is not used. Whoever reads a token before its container can take its place.\n\n" +
			"   confighub token --key enrol.jwk --ca-url https://genesis.internal:9000 --fingerprint SHA --host vm1 --stack shop --service web",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "`FILE` with the provisioner's private JWK"},
			&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password of an encrypted key"},
			&cli.StringFlag{Name: "provisioner", Usage: "`NAME` of the provisioner in ca.json", Value: enrol.DefaultProvisioner},
			&cli.StringFlag{Name: "ca-url", Usage: "the authority's `URL` as the containers reach it"},
			&cli.StringFlag{Name: "fingerprint", Usage: "`SHA`-256 of the authority's root"},
			&cli.StringFlag{Name: "trust-domain", Usage: "the fleet's `NAME`", Value: identity.DefaultTrustDomain},
			&cli.StringFlag{Name: "host", Usage: "`NAME` of the docker host; alone, the token is the host's own"},
			&cli.StringFlag{Name: "stack", Usage: "`NAME` of the compose stack, with --host and --service"},
			&cli.StringFlag{Name: "service", Usage: "`NAME` of the service, with --host and --stack"},
			&cli.IntFlag{Name: "replicas", Usage: "tokens for replicas 0 to `N`-1 of a service", Value: 1},
			&cli.StringFlag{Name: "genesis", Usage: "`ROLE` of a genesis server: config, health or log"},
			&cli.StringFlag{Name: "operator", Usage: "operator's `NAME`"},
			&cli.DurationFlag{Name: "ttl", Usage: "`TIME` for which the token is good, 10s to 1h", Value: enrol.MaxTokenTTL},
		},
		Action: mintTokens,
	}
}

func mintTokens(c *cli.Context) error {
	settings := identity.Settings{
		TrustDomain: c.String("trust-domain"), CAURL: c.String("ca-url"), CAFingerprint: c.String("fingerprint"),
		Host: c.String("host"), Stack: c.String("stack"), Service: c.String("service"),
		Genesis: c.String("genesis"), Operator: c.String("operator"),
	}
	if err := daemon.Missing(c, "key", "ca-url", "fingerprint"); err != nil {
		return err
	}
	ids, err := tokenOwners(settings, c.Int("replicas"))
	if err != nil {
		return daemon.Usage(err)
	}
	if ttl := c.Duration("ttl"); ttl < enrol.MinTokenTTL || ttl > enrol.MaxTokenTTL {
		return daemon.Usage(fmt.Errorf("--ttl must be between %s and %s, got %s", enrol.MinTokenTTL, enrol.MaxTokenTTL, ttl.Round(time.Millisecond)))
	}
	minter, err := enrol.OpenMinter(c.String("key"), c.String("password-file"))
	if err != nil {
		return err
	}
	minter.Provisioner, minter.CAURL = c.String("provisioner"), settings.CAURL
	minter.Fingerprint, minter.TTL = settings.CAFingerprint, c.Duration("ttl")
	for _, id := range ids {
		token, err := minter.Mint(id)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c.App.Writer, token); err != nil {
			return fmt.Errorf("printing the token: %w", err)
		}
	}
	return nil
}

// tokenOwners returns who the tokens are for, judged by the rules of the settings they have to match.
func tokenOwners(settings identity.Settings, replicas int) ([]spiffe.ID, error) {
	var problems []error
	settings.CheckSettings(func(key, message string) {
		problems = append(problems, fmt.Errorf("--%s %s", flagOf[key], message))
	})
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if replicas < 1 || replicas > maxReplicas {
		return nil, fmt.Errorf("--replicas must be between 1 and %d, got %d", maxReplicas, replicas)
	}
	if replicas > 1 && settings.Service == "" {
		return nil, errors.New("--replicas goes with --service")
	}
	var ids []spiffe.ID
	for slot := range replicas {
		id, err := settings.ID(slot)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// flagOf is the flag of each key of the section "identity".
var flagOf = map[string]string{
	"trust_domain": "trust-domain", "host": "host", "stack": "stack", "service": "service",
	"genesis": "genesis", "operator": "operator", "ca_url": "ca-url", "ca_fingerprint": "fingerprint",
}
