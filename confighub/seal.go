// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/daemon"
)

// sealCommand is `confighub seal`.
func sealCommand() *cli.Command {
	return &cli.Command{
		Name:  "seal",
		Usage: "encrypt a value for one or more containers, so that neither git nor genesis holds it plain",
		Description: `Reads the value from stdin or --in, without the newline at its end, or asks for it at the terminal; never from the
command line. Prints the object to put into a data file, at the key it is sealed for:

   confighub seal --for web.shop.vm1 --key db.password < password
   {"$sealed":"age:…"}                as in {"db": {"password": {"$sealed": "age:…"}}}

It opens at that key of that container alone, in memory, when templates are rendered; a target with it in it has mode
0600 unless it says otherwise. Every replica is a recipient, as are the containers of further --for: seal anew when one
is added or has lost its volume. An older sealed value opens as well as a newer one.

The recipients come from confighub serve, where each container told its own, and are printed on stderr. Whoever rules
that server could name one of his own. To be safe from that, compare them once with what "confighub status" shows in the
containers, keep them in a file, and seal with --recipients FILE from then on. A static server knows none: they are then
taken from there alone.

   confighub fleet --recipients > recipients
   confighub seal --recipients recipients --for web.shop.vm1 --key db.password < password

Templates decide where a value goes: let containers take only signed bundles (config.trusted_keys), so that genesis
cannot send one that writes it into a page.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "dotted `PATH` of the value in the data: db.password, users[0].password"},
			&cli.StringSliceFlag{Name: "for", Usage: "`NAME` of a container that is to open it: web.shop.vm1; several, or with commas"},
			&cli.StringFlag{Name: "in", Usage: "`FILE` that holds the value (default: stdin)"},
			&cli.BoolFlag{Name: "json", Usage: "the value is JSON: a number, an object, a list (default: it is a text)"},
			&cli.StringFlag{Name: "server", Usage: "`URL` of confighub serve, to ask for the recipients", Value: defaultServer},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` of an operator's id.pem and roots.pem, to ask with (default: this container's)"},
			&cli.StringFlag{Name: "recipients", Usage: "`FILE` of recipients to seal for instead: a name and its recipient a line"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "`age1…` to seal for instead; without --for the value opens under any name"},
		},
		Before: func(c *cli.Context) error {
			if c.Args().Present() {
				return daemon.Usage(errors.New("seal takes no argument, and no value from the command line, which others can see: give it on stdin, or with --in FILE"))
			}
			return nil
		},
		Action: sealValue,
	}
}

// defaultServer is where confighub serve is found unless the command line says otherwise.
const defaultServer = "https://genesis.internal:8443"

// maxValue is more than a sealed value can have.
const maxValue = 128 << 10

func sealValue(c *cli.Context) error {
	names, err := checkSeal(c)
	if err != nil {
		return daemon.Usage(err)
	}
	to, err := recipients(c, names)
	if err != nil {
		return err
	}
	value, err := readValue(c)
	if err != nil {
		return err
	}
	var texts []string
	for _, r := range to {
		texts = append(texts, r.text)
	}
	text, err := seal.Seal(value, seal.Place{Key: c.String("key"), For: names}, texts)
	if err != nil {
		return err
	}
	for _, r := range to {
		fmt.Fprintf(c.App.ErrWriter, "sealed for %s\n", r)
	}
	return json.NewEncoder(c.App.Writer).Encode(map[string]string{seal.Member: text})
}

// checkSeal judges the command line, and returns the names of --for.
func checkSeal(c *cli.Context) ([]string, error) {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if err := seal.CheckKey(c.String("key")); err != nil {
		wrong("--key: %w", err)
	}
	var names []string
	for _, name := range c.StringSlice("for") {
		if err := checkContainer(name); err != nil {
			wrong("--for: %w", err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, text := range c.StringSlice("recipient") {
		if err := seal.CheckRecipient(text); err != nil {
			wrong("--recipient: %w, got %q", err, text)
		}
	}
	given := len(c.StringSlice("recipient")) > 0
	if len(names) == 0 && !given {
		wrong("--for is missing: say which container is to open it")
	}
	if given && c.String("recipients") != "" {
		wrong("--recipient and --recipients exclude each other")
	}
	if c.IsSet("server") && (given || c.String("recipients") != "") {
		wrong("--server is asked for recipients, and they are given")
	}
	return names, errors.Join(problems...)
}

// readValue reads what is to be sealed, as JSON.
func readValue(c *cli.Context) (json.RawMessage, error) {
	raw, err := rawValue(c)
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	defer clear(raw)
	switch text := bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r")); {
	case len(raw) > maxValue:
		return nil, fmt.Errorf("the value is larger than %d bytes", maxValue)
	case c.Bool("json"):
		return bytes.Clone(raw), nil
	case len(text) == 0:
		return nil, errors.New("the value is empty")
	case !utf8.Valid(text):
		return nil, errors.New("the value holds bytes that are not UTF-8, which data cannot hold: seal it in base64")
	default:
		return json.Marshal(string(text))
	}
}

// rawValue is the value as it was given: in a file, on stdin, or typed twice.
func rawValue(c *cli.Context) ([]byte, error) {
	in := c.App.Reader
	if file := c.String("in"); file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if f, ok := in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return io.ReadAll(io.LimitReader(in, maxValue+1))
	}
	value, err := askHidden(c.Context, "value of "+c.String("key"))
	if err != nil {
		return nil, err
	}
	again, err := askHidden(c.Context, "and once more")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(value, again) {
		return nil, errors.New("the two are not the same")
	}
	return value, nil
}
