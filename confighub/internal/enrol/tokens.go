// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// Tokens returns the one-time tokens at hand, the one for slot n at index n. It is asked again and again, so that a
// token put in place later is found.
type Tokens func() ([]string, error)

// maxTokenFileBytes is room for a thousand tokens of some 700 bytes.
const maxTokenFileBytes = 1 << 20

// TokensFrom returns the tokens in HUB_TOKEN or in the file that HUB_TOKEN_FILE names, one a line; empty lines do
// not count. Both set is an error; a file that is not there or empty, which holds no token yet, is one each time, and so is one
// that is no regular file.
func TokensFrom(getenv func(string) string) (Tokens, error) {
	text, path := getenv(initctl.EnvToken), getenv(initctl.EnvTokenFile)
	switch {
	case text != "" && path != "":
		return nil, fmt.Errorf("%s and %s are both set: keep one", initctl.EnvToken, initctl.EnvTokenFile)
	case path == "":
		lines := tokenLines(text)
		return func() ([]string, error) { return lines, nil }, nil
	}
	return func() ([]string, error) {
		data, err := hubfile.ReadFile(path, maxTokenFileBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s names %s, which is not there", errNoToken, initctl.EnvTokenFile, path)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the token (%s): %w", initctl.EnvTokenFile, err)
		}
		lines := tokenLines(string(data))
		if len(lines) == 0 {
			return nil, fmt.Errorf("%w: %s names %s, which is empty", errNoToken, initctl.EnvTokenFile, path)
		}
		return lines, nil
	}, nil
}

func tokenLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// token returns the token of this slot, "" if there is none.
func (k *Keeper) token() (string, error) {
	if k.conf.Tokens == nil {
		return "", nil
	}
	lines, err := k.conf.Tokens()
	if k.conf.Slot > 0 && errors.Is(err, errNoToken) {
		return "", nil // a replica without a token of its own is so by intent
	}
	if err != nil || k.conf.Slot >= len(lines) {
		return "", err
	}
	return lines[k.conf.Slot], nil
}

// claims is what a token says (RFC 7519 §4.1, and "sha" and "sans" as step-ca has them). It is believed in nothing:
// it is looked at to tell a wrong token before the authority counts it as used.
type claims struct {
	Subject string   `json:"sub"`
	SANs    []string `json:"sans"`
	SHA     string   `json:"sha"` // fingerprint of the authority's root
	Expiry  int64    `json:"exp"`
	Begin   int64    `json:"nbf"`
}

func readClaims(token string) (claims, error) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("it is no token: a token has three parts with dots between")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, errors.New("it is no token, or not all of one")
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, errors.New("it is no token, or not all of one")
	}
	return c, nil
}

// tokenLeeway is how far the clocks of this machine and the authority may differ; step-ca allows the same.
const tokenLeeway = time.Minute

// checkToken says why a token is of no use to id at the authority with that root; nil if it looks well.
func checkToken(token string, id spiffe.ID, fingerprint string, now time.Time) error {
	c, err := readClaims(token)
	if err != nil {
		return err
	}
	if sha, err := identity.ParseFingerprint(c.SHA); err != nil || sha != fingerprint {
		return fmt.Errorf("it is for an authority with root %s, identity.ca_fingerprint is %s", orNone(c.SHA), fingerprint)
	}
	want := append([]string{id.String()}, id.DNSNames()...)
	got := slices.Clone(c.SANs)
	slices.Sort(want)
	slices.Sort(got)
	if c.Subject != id.CommonName() || !slices.Equal(want, got) {
		return fmt.Errorf("it is for %s, this is %s", tokenOwner(c), id)
	}
	if exp := time.Unix(c.Expiry, 0); now.After(exp.Add(tokenLeeway)) {
		return fmt.Errorf("it expired at %s (here it is %s)", stamp(exp), stamp(now))
	}
	if begin := time.Unix(c.Begin, 0); now.Add(tokenLeeway).Before(begin) {
		return fmt.Errorf("it is valid from %s on, and here it is %s: the clock of this machine looks wrong", stamp(begin), stamp(now))
	}
	return nil
}

// tokenOwner names whom a token is for: its URI name if it has one.
func tokenOwner(c claims) string {
	for _, san := range c.SANs {
		if strings.HasPrefix(san, "spiffe://") {
			return san
		}
	}
	return orNone(c.Subject)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
