// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// Who signed is named; a genesis that does not sign is refused where keys are trusted, and named where none are.
func TestSigned(t *testing.T) {
	t.Parallel()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	g, c := newGenesis(t), newContainer(t)
	g.keys = []ed25519.PrivateKey{key}
	publish(g, c, "one", "")
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["trusted_keys"] = []string{bundle.FormatPublicKey(public)}
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	if n, s := c.state(); s.Source.SignedBy != bundle.KeyID(public) || s.Source.Unsigned || strings.Contains(n.Text, "unsigned") {
		t.Errorf("%+v, %s", s.Source, n.Text)
	}
	if !strings.Contains(c.status(), "signed by "+bundle.KeyID(public)+" answers") {
		t.Errorf("status says\n%s", c.status())
	}

	g.stop()
	g.keys = nil
	publish(g, c, "two", "")
	g.start()
	c.waitFor("the unsigned version to be refused", func() bool {
		n, s := c.state()
		return n.State == health.Warn && strings.Contains(s.Source.Error, "it is not signed")
	})
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("got %q", c.target())
	}
	c.configure(webSettings(g, c))
	c.again()
	c.runsWith("two")
	if n, s := c.state(); !s.Source.Unsigned || s.Source.SignedBy != "" || n.State != health.Pass || !strings.HasSuffix(n.Text, "is in place, unsigned") {
		t.Errorf("%+v, %s", s.Source, n.Text)
	}
	if !strings.Contains(c.status(), " unsigned answers ") || c.init().State != initctl.ServiceRunning {
		t.Errorf("status says\n%s", c.status())
	}
}
