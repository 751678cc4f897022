// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// recipient is whom a value is sealed for.
type recipient struct {
	// name of the container; "" when it was not said.
	name string
	// text is age1….
	text string
	// about the replica, for people.
	about string
}

// String is a line of a file of recipients: `web.shop.vm1 age1… # replica 1, seen 3s ago`.
func (r recipient) String() string {
	line := strings.TrimSpace(r.name + " " + r.text)
	if r.about != "" {
		line += " # " + r.about
	}
	return health.CleanText(line) // the fleet is what a server says it is
}

// recipients are those that the command line chooses, for these containers.
func recipients(c *cli.Context, names []string) ([]recipient, error) {
	var list []recipient
	if texts := c.StringSlice("recipient"); len(texts) > 0 {
		for _, text := range texts {
			list = append(list, recipient{text: text})
		}
		return list, nil
	}
	if file := c.String("recipients"); file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the recipients: %w", err)
		}
		all, err := parseRecipients(file, string(raw))
		if err != nil {
			return nil, err
		}
		return chosen(all, names, file)
	}
	fleet, _, err := askFleet(c)
	if err != nil {
		return nil, err
	}
	return fleetRecipients(fleet, names, time.Now())
}

// parseRecipients reads lines "NAME age1…"; what follows a # is for people.
func parseRecipients(file, text string) ([]recipient, error) {
	var list []recipient
	var problems []error
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, about, _ := strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		err := errors.New("must be the name of a container and its recipient: web.shop.vm1 age1…")
		if len(fields) == 2 {
			if err = checkContainer(fields[0]); err == nil {
				err = seal.CheckRecipient(fields[1])
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %w", file, number, err))
			continue
		}
		list = append(list, recipient{name: fields[0], text: fields[1], about: strings.TrimSpace(about)})
	}
	return list, errors.Join(problems...)
}

// checkContainer says what is wrong with a container's name.
func checkContainer(name string) error {
	id, err := spiffe.ParseBundleName(identity.DefaultTrustDomain, name)
	if err != nil || id.Role != spiffe.Container {
		return fmt.Errorf("must be the name of a container, <service>.<stack>.<host>, got %q", name)
	}
	return nil
}

// chosen are the recipients of these names, at least one of each.
func chosen(all []recipient, names []string, file string) ([]recipient, error) {
	var list []recipient
	var problems []error
	for _, name := range names {
		before := len(list)
		for _, r := range all {
			if r.name == name {
				list = append(list, r)
			}
		}
		if len(list) == before {
			problems = append(problems, fmt.Errorf("%s has no recipient of %s", file, name))
		}
	}
	return list, errors.Join(problems...)
}

// fleetRecipients are those of every replica that was ever heard of. One without leaves a container that would not open
// the value, and so is an error.
func fleetRecipients(fleet serve.Fleet, names []string, now time.Time) ([]recipient, error) {
	var list []recipient
	var problems []error
	for _, name := range names {
		at := slices.IndexFunc(fleet.Containers, func(c serve.Container) bool { return c.Identity == name })
		switch {
		case at < 0:
			problems = append(problems, fmt.Errorf("%s is not placed: add it to its host's host.json, and start it", name))
			continue
		case len(fleet.Containers[at].Instances) == 0:
			problems = append(problems, fmt.Errorf("%s was never heard of: start it, and seal then", name))
		}
		for _, r := range recipientsOf(fleet.Containers[at], now) {
			if r.text == "" {
				problems = append(problems, fmt.Errorf("%s (%s) has told no recipient: it has not yet had a version, or has no key (confighub status there says why). "+
					"Once that is mended seal again, or name the others with --recipients", r.name, r.about))
			} else if err := seal.CheckRecipient(r.text); err != nil {
				problems = append(problems, fmt.Errorf("%s (%s): the recipient %w", r.name, r.about, err))
			}
			list = append(list, r)
		}
	}
	return list, errors.Join(problems...)
}

// recipientsOf are the replicas of one container as recipients, with an empty text for one that told none.
func recipientsOf(container serve.Container, now time.Time) (list []recipient) {
	for _, i := range container.Instances {
		about := "replica 0"
		if i.Instance != "" {
			about = "replica " + i.Instance
		}
		list = append(list, recipient{container.Identity, i.Recipient, about + ", seen " + ago(now, i.Seen)})
	}
	return list
}

// printRecipients writes a file of recipients of the whole fleet.
func printRecipients(w io.Writer, fleet serve.Fleet, now time.Time) error {
	for _, container := range fleet.Containers {
		if len(container.Instances) == 0 {
			if _, err := fmt.Fprintln(w, recipient{name: "# " + container.Identity, text: "was never heard of"}); err != nil {
				return err
			}
		}
		for _, r := range recipientsOf(container, now) {
			if seal.CheckRecipient(r.text) != nil {
				r = recipient{name: "# " + r.name, text: "has told no recipient", about: r.about}
			}
			if _, err := fmt.Fprintln(w, r); err != nil {
				return err
			}
		}
	}
	return nil
}
