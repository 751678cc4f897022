// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
)

// command runs one of our commands and returns what it printed.
func command(cmd *cli.Command, args ...string) (string, error) {
	var out bytes.Buffer
	app := daemon.New("confighub", "", sections, cmd)
	app.Writer, app.ErrWriter, app.ExitErrHandler = &out, &out, func(*cli.Context, error) {}
	err := app.Run(append([]string{"confighub", cmd.Name}, args...))
	return out.String(), err
}

func TestTokenCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	out, err := command(caInitCommand(), "--dir", dir, "--dns", "genesis.internal, 10.0.0.1", "--address", ":9000")
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := strings.TrimSpace(out)
	kept, err := os.ReadFile(filepath.Join(dir, "fingerprint"))
	if diff := cmp.Diff(out, string(kept)); err != nil || diff != "" {
		t.Errorf("fingerprint printed and kept: %v\n%s", err, diff)
	}
	base := []string{"--key", filepath.Join(dir, "secrets/enrol.jwk"), "--ca-url", "https://genesis.internal:9000/", "--fingerprint", fingerprint}

	tests := []struct {
		name string
		args []string
		want []string // "<sub> <sans> <life>" a token
		says string   // else what the error says
	}{
		{"container", []string{"--host", "vm1", "--stack", "shop", "--service", "web"},
			[]string{"web.shop.vm1 spiffe://cloud4.internal/host/vm1/stack/shop/service/web web.shop.vm1.internal 1h0m0s"}, ""},
		{"replicas", []string{"--host", "vm1", "--stack", "shop", "--service", "web", "--replicas", "3", "--ttl", "10m"}, []string{
			"web.shop.vm1 spiffe://cloud4.internal/host/vm1/stack/shop/service/web web.shop.vm1.internal 10m0s",
			"web.shop.vm1 spiffe://cloud4.internal/host/vm1/stack/shop/service/web/1 web.shop.vm1.internal 10m0s",
			"web.shop.vm1 spiffe://cloud4.internal/host/vm1/stack/shop/service/web/2 web.shop.vm1.internal 10m0s",
		}, ""},
		{"host", []string{"--host", "vm1"}, []string{"host/vm1 spiffe://cloud4.internal/host/vm1 vm1.internal 1h0m0s"}, ""},
		{"genesis", []string{"--genesis", "config", "--trust-domain", "x.y"}, []string{"genesis.internal spiffe://x.y/genesis/config genesis.internal 1h0m0s"}, ""},
		{"operator", []string{"--operator", "desk"}, []string{"operator/desk spiffe://cloud4.internal/operator/desk 1h0m0s"}, ""},
		{"nobody", nil, nil, "--host is missing"},
		{"upper case", []string{"--host", "VM1"}, nil, `--host "VM1" must be a lower-case DNS label`},
		{"no stack", []string{"--host", "vm1", "--service", "web"}, nil, "--stack is missing"},
		{"replicas of a host", []string{"--host", "vm1", "--replicas", "2"}, nil, "--replicas goes with --service"},
		{"no replicas", []string{"--host", "vm1", "--replicas", "0"}, nil, "--replicas must be between 1 and 1000, got 0"},
		{"for too long", []string{"--host", "vm1", "--ttl", "2h"}, nil, "--ttl must be between 10s and 1h0m0s, got 2h0m0s"},
		{"fingerprint", []string{"--host", "vm1", "--fingerprint", "12"}, nil, "--fingerprint must be 64 hex digits"},
		{"URL", []string{"--host", "vm1", "--ca-url", "genesis.internal:9000"}, nil, "--ca-url must be https://"},
		{"an argument", []string{"--host", "vm1", "web"}, nil, `takes no arguments, got "web"`},
		{"no key", []string{"--host", "vm1", "--key", ""}, nil, "--key is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := command(tokenCommand(), append(base[:len(base):len(base)], test.args...)...)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || out != "" {
					t.Errorf("error %v does not say %q; printed %q", err, test.says, out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out) {
				got = append(got, readToken(t, strings.TrimSpace(line), fingerprint))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

func readToken(t *testing.T, token, fingerprint string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Sub, Iss, Aud, SHA, JTI string
		SANs                    []string
		NBF, Exp                int64
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Iss != "enrol" || c.Aud != "https://genesis.internal:9000/1.0/sign" || c.SHA != fingerprint || len(c.JTI) != 64 {
		t.Errorf("claims %+v", c)
	}
	return strings.Join(append(append([]string{c.Sub}, c.SANs...), (time.Duration(c.Exp-c.NBF)*time.Second).String()), " ")
}

func TestCAInitRefuses(t *testing.T) {
	there := t.TempDir()
	if err := os.Mkdir(filepath.Join(there, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, "config/ca.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no directory":       {nil, "--dir is missing"},
		"no name":            {[]string{"--dir", "x", "--dns", " , "}, "--dns is missing"},
		"address":            {[]string{"--dir", "x", "--address", "9000"}, "--address must be"},
		"seen as":            {[]string{"--dir", "x", "--seen-as", "ca"}, "--seen-as must be an absolute path"},
		"provisioner":        {[]string{"--dir", there + "/x", "--provisioner", "../x"}, "provisioner"},
		"an authority there": {[]string{"--dir", there}, "there is an authority already"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := command(caInitCommand(), test.args...); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v does not say %q; printed %q", err, test.says, out)
			}
		})
	}
}
