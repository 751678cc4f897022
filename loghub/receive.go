// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/loghub/internal/receive"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"
)

// Timings of receive.
const (
	identitySay = 10 * time.Second // say that there is none yet
	serverStop  = 5 * time.Second  // for requests under way
)

// receiveMemory is from where on the collector works harder; 100 peers whose largest requests come at once need 250 MiB.
const receiveMemory = 384 << 20

func receiveCommand() *cli.Command {
	return &cli.Command{
		Name:  "receive",
		Usage: "take logs over mutual TLS and keep them as JSON lines, a file for each peer",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Usage: "keep the files in `DIR`"},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", Value: ":4318"},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` with id.pem and roots.pem", DefaultText: "<state>/identity"},
			&cli.StringFlag{Name: "quota", Usage: "`BYTES` of records one peer may send in a minute", Value: "64MiB"},
			&cli.StringFlag{Name: "quota-total", Usage: "`BYTES` all files may have together", Value: "4GiB"},
			&cli.StringFlag{Name: "floor", Usage: "`BYTES` that stay free on the file system: below nothing is taken", Value: "500MiB"},
			&cli.StringFlag{Name: "max-body", Usage: "`BYTES` of one request, unpacked, 1MiB to 64MiB", Value: "16MiB"},
			&cli.StringFlag{Name: "file-size", Usage: "`BYTES` of a file before it is rotated", Value: "16MiB"},
			&cli.IntFlag{Name: "keep", Usage: "keep `N` old files for each peer", Value: 4},
			&cli.BoolFlag{Name: "daily", Usage: "begin a new file each day, UTC"},
			&cli.BoolFlag{Name: "gzip", Usage: "compress old files"},
		},
		Action: daemon.Service(func(c *cli.Context, log zerolog.Logger) error {
			o, err := receiveOptions(c)
			if err != nil {
				return daemon.Usage(err)
			}
			o.Log = log
			dir := c.String("identity")
			if dir == "" {
				dir = identity.Dir()
			}
			return serve(c.Context, o, identity.Open(dir), dir, c.String("listen"))
		}),
	}
}

func receiveOptions(c *cli.Context) (receive.Options, error) {
	o := receive.Options{Dir: c.String("dir"), Keep: c.Int("keep"), Daily: c.Bool("daily"), Pack: c.Bool("gzip")}
	var errs []error
	if err := daemon.Missing(c, "dir"); err != nil {
		errs = append(errs, err)
	}
	size := func(flag string, into *int64, low, high hubfile.Bytes) {
		n, err := hubfile.ParseBytes(c.String(flag))
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		} else if n < low || n > high {
			errs = append(errs, fmt.Errorf("--%s: must be between %s and %s, got %s", flag, low, high, n))
		}
		*into = int64(n)
	}
	size("quota", &o.PeerQuota, 64<<10, 1<<40)
	size("quota-total", &o.TotalBytes, 1<<20, 1<<50)
	size("floor", &o.Floor, 0, 1<<50)
	size("max-body", &o.BodyBytes, 1<<20, 64<<20)
	size("file-size", &o.FileBytes, 64<<10, 1<<40)
	if _, _, err := net.SplitHostPort(c.String("listen")); err != nil {
		errs = append(errs, fmt.Errorf("--listen: must be <host>:<port> or :<port>, got %q", c.String("listen")))
	}
	if o.Keep < 1 || o.Keep > 1000 {
		errs = append(errs, fmt.Errorf("--keep: must be between 1 and 1000, got %d", o.Keep))
	}
	return o, errors.Join(errs...)
}

// serve waits for the identity and then takes requests until ctx is done.
func serve(ctx context.Context, o receive.Options, files *identity.Files, dir, address string) error {
	debug.SetMemoryLimit(receiveMemory)
	o.Own = files.ID
	rc, err := receive.New(o)
	if err != nil {
		return err
	}
	if err := waitIdentity(ctx, files, dir, o.Log); err != nil {
		return nil // told to stop before it began
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	srv := mtls.Server(files, rc, rc.Refused)
	receive.LimitConnections(srv)
	id, err := files.ID()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	o.Log.Info().Str("address", ln.Addr().String()).Str("identity", id.String()).Str("dir", o.Dir).Msg("receiving logs")
	return daemon.Serve(ctx, srv, serverStop, func() error { return srv.ServeTLS(ln, "", "") })
}

// waitIdentity returns when there is a certificate to show; an error says that
// ctx is done.
func waitIdentity(ctx context.Context, files *identity.Files, dir string, log zerolog.Logger) error {
	for {
		_, err := files.Certificate()
		if err == nil {
			_, err = files.Roots()
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		words := err.Error()
		if errors.Is(err, identity.ErrNone) {
			words = "there is no id.pem and roots.pem yet; confighub brings them, and --identity names another directory"
		}
		log.Warn().Str("dir", dir).Msg("waiting for the identity: " + words)
		limited, cancel := context.WithTimeout(ctx, identitySay)
		_ = files.Wait(limited) // what is still missing is said at the next round
		cancel()
	}
}
