// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/scaffold"
	"cloud4.internal/hub/internal/daemon"
)

// newCommand is `confighub new`.
func newCommand() *cli.Command {
	return &cli.Command{
		Name:      "new",
		Usage:     "write the files of a new service: image, settings, compose service and configuration",
		ArgsUsage: strings.Join(scaffold.Kinds[:len(scaffold.Kinds)-1], "|") + " [NAME], or " + scaffold.Existing + " IMAGE [NAME]",
		Description: `Writes a service that works as it is, to be changed from there:

   NAME/Dockerfile      its image
   NAME/hub.json        the drop-in with what the image knows: actions, checks, log files
   NAME/compose.yaml    its service, with secrets and volumes
   NAME/bundle/         its configuration: bundle.json, data/, templates/

Without a genesis machine the image takes the configuration that is built into it. With --tree the bundle goes to
services/NAME/ of a genesis tree instead, and with --host too the service is placed in hosts/HOST/host.json.

   confighub new nginx web --stack shop --host vm1 --tree ./tree
   confighub new existing grafana/grafana:12.0.0 grafana

kinds: nginx; postgres, with its data in a volume; php, PHP-FPM behind an nginx of the same stack; job, a command every
so often, or once; existing, an image that is not FROM ours, whose ENTRYPOINT and CMD are asked of docker or given.
No file is overwritten: when one is in the way, nothing is written. In the end the next commands are printed.
Exit codes: 0 done, 1 failed, 2 usage.`,
		Flags:           newFlags(),
		SkipFlagParsing: true, // flags may stand behind the arguments, which the library's parser does not know
		Action:          runNew,
	}
}

func newFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "stack", Usage: "`NAME` of the compose stack it is of", Value: "shop"},
		&cli.StringFlag{Name: "host", Usage: "`NAME` of the docker host it runs on", Value: "vm1"},
		&cli.StringFlag{Name: "dir", Usage: "`DIR` in which the directory NAME is made", Value: "."},
		&cli.StringFlag{Name: "tree", Usage: "`DIR` of the genesis tree that is to hold its configuration"},
		&cli.StringFlag{Name: "entrypoint", Usage: "existing: the image's `ENTRYPOINT`, words or a JSON list (default: docker knows)"},
		&cli.StringFlag{Name: "cmd", Usage: "existing: the image's `CMD`, likewise"},
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"stdout"}, Usage: "print the files, and write nothing"},
	}
}

func runNew(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, newFlags())
	if done || err != nil {
		return err
	}
	s, err := newService(c.Context, flags, arguments)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return daemon.Usage(err)
	}
	files, err := s.Files()
	if err != nil {
		return err
	}
	p, err := placement(s, flags.IsSet("host"))
	if err != nil {
		return err
	}
	if flags.Bool("dry-run") || flags.Bool("stdout") {
		return printFiles(c.App.Writer, append(files, p.Files()...))
	}
	if err := scaffold.Write(files); err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(c.App.Writer, "wrote", f.Path)
	}
	if err := p.Write(); err != nil {
		return fmt.Errorf("the files of the service are written, and it is not placed: %w", err)
	}
	if said := p.String(); said != "" {
		fmt.Fprintln(c.App.Writer, said)
	}
	return printNext(c.App.Writer, s)
}

// placement plans what becomes of the host.json, where the service has a tree.
func placement(s *scaffold.Service, host bool) (scaffold.Placement, error) {
	switch {
	case !s.InTree():
		return scaffold.Placement{}, nil
	case holds(s.Tree, "HEAD") && holds(s.Tree, "objects"):
		return scaffold.Placement{}, daemon.Usage(fmt.Errorf("--tree %s is a git repository without its files: give a clone of it, and push what is written", s.Tree))
	}
	p, err := s.Placement(host)
	if err != nil {
		return p, fmt.Errorf("--tree %s: nothing is written: %w", s.Tree, err)
	}
	return p, nil
}

// printFiles prints files as render does those of a bundle.
func printFiles(w io.Writer, files []scaffold.File) error {
	for i, f := range files {
		between := ""
		if i > 0 {
			between = "\n"
		}
		if _, err := fmt.Fprintf(w, "%s==> %s <==\n%s", between, f.Path, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// printNext prints what brings the service up. The shell reads these lines: names are DNS labels, and the directory is quoted.
func printNext(w io.Writer, s *scaffold.Service) error {
	at := func(name string) string { return shellWord(filepath.Join(s.Home(), name)) }
	password := ""
	if s.Kind == "postgres" {
		password = "    head -c 18 /dev/urandom | base64 >" + at(s.Name+".password") + "\n"
	}
	_, err := fmt.Fprintf(w, `
next, the token on the genesis machine, the rest on %[1]s:
    confighub token --key ca/secrets/enrol.jwk --ca-url https://genesis.internal:9000 --fingerprint "$(cat ca/fingerprint)" \
        --host %[1]s --stack %[2]s --service %[3]s >%[4]s
%[5]s    docker build -t %[2]s/%[3]s %[6]s
    CA_FINGERPRINT=… GENESIS_ADDRESS=… docker compose -p %[2]s -f %[7]s up -d
%[8]s`, s.Host, s.Stack, s.Name, at(s.Name+".token"), password, shellWord(s.Home()), at("compose.yaml"), alone(s))
	return err
}

// alone says how the image runs without a genesis machine, where it can.
func alone(s *scaffold.Service) string {
	if s.InTree() {
		return ""
	}
	return fmt.Sprintf("without a genesis machine:\n    docker run --rm %s/%s\n", s.Stack, s.Name)
}

// shellWord quotes a path for the shell where it has to be.
func shellWord(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
