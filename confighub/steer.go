// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/control"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/initctl"
)

// steered ends the description of every command that asks the running hub.
const steered = `

It asks the confighub that runs in this container, over config.sock in the run directory, which is open for root and
the uid of the hubs. Exit codes: 0 done, 1 not done (standard error says why), 2 usage.`

var reasonFlag = &cli.StringFlag{Name: "reason", Usage: "`TEXT` for the others, who see it in status and health"}

// holdCommand is `confighub hold`.
func holdCommand() *cli.Command {
	return &cli.Command{
		Name:  "hold",
		Usage: "take no new version in this container",
		Description: `What is in place stays until confighub resume, or until --for has passed, across restarts too. A second hold
replaces the first. Certificates are renewed all the same, and what was rendered from them; drift is judged as ever. A
version that the service does not live with is taken back. Health passes and names the hold; it warns while a newer
version waits.` + steered,
		Flags: []cli.Flag{&cli.DurationFlag{Name: "for", Usage: "`TIME` to hold for, such as 8h", DefaultText: "until resume"}, reasonFlag},
		Action: func(c *cli.Context) error {
			if c.IsSet("for") && c.Duration("for") <= 0 {
				return daemon.Usage(fmt.Errorf("--for: must be at least 1s, got %s", c.Duration("for")))
			}
			return steer(c, control.Request{Verb: control.Hold, For: c.Duration("for"), Reason: c.String("reason")})
		},
	}
}

// resumeCommand is `confighub resume`.
func resumeCommand() *cli.Command {
	return &cli.Command{
		Name:  "resume",
		Usage: "take new versions again after a hold",
		Description: `Ends a hold. A version that waits is taken at once, and the answer says what became of it: exit code 1 when it
was refused or taken back.` + steered,
		Action: func(c *cli.Context) error { return steer(c, control.Request{Verb: control.Resume}) },
	}
}

// rollbackCommand is `confighub rollback`.
func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:  "rollback",
		Usage: "go back to the last good version before the one in place",
		Description: `Puts that version in place as any other, with its checks, reloads and settling, and returns when that is done.
The version that was left is bad from then on: it is not taken again (confighub accept undoes that), and genesis is told
that it was rolled back by hand. A version with a higher serial is taken when it comes; to keep that from happening,
hold first. One version back is kept.` + steered,
		Flags: []cli.Flag{reasonFlag},
		Action: func(c *cli.Context) error {
			return steer(c, control.Request{Verb: control.Rollback, Reason: c.String("reason")})
		},
	}
}

// acceptCommand is `confighub accept`.
func acceptCommand() *cli.Command {
	return &cli.Command{
		Name:  "accept",
		Usage: "take the version that genesis offers although it is older, or bad here",
		Description: `For a genesis that was restored from a backup, whose serials went backwards, and for a version that was rolled
back by mistake. The version must be the one that the source offers now, by its serial; that one alone may be taken, and
no other of the same serial. From then on versions above it are new again. config.min_serial, an expiry and the signature bind all
the same. The leave holds, across restarts too, until it was used.` + steered,
		Flags: []cli.Flag{&cli.Uint64Flag{Name: "serial", Usage: "`SERIAL` of the version, as confighub status shows it", DefaultText: "none"}},
		Action: func(c *cli.Context) error {
			if err := daemon.Missing(c, "serial"); err != nil {
				return err
			}
			if c.Uint64("serial") == 0 {
				return daemon.Usage(errors.New("--serial: must be at least 1"))
			}
			return steer(c, control.Request{Verb: control.Accept, Serial: c.Uint64("serial")})
		},
	}
}

// steer asks the running hub and prints its answer.
func steer(c *cli.Context, r control.Request) error {
	if err := r.Check(); err != nil {
		return daemon.Usage(fmt.Errorf("--%w", err))
	}
	text, err := control.Ask(c.Context, initctl.RunDir(), r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, text)
	return err
}
