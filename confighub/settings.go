// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
)

// configSettings is the section "config".
type configSettings struct {
	Source         string              `json:"source" doc:"where bundles come from: https://<host>:<port>, or dir:<absolute path>; without it the directory bundle beside the settings, if there is one"`
	Poll           time.Duration       `json:"poll" default:"30s" min:"1s" max:"1h" doc:"pause between questions to a server that does not wait with its answer"`
	StartWait      time.Duration       `json:"start_wait" default:"2s" min:"0s" max:"1h" doc:"how long a start with a last-good bundle waits for the source"`
	Settle         time.Duration       `json:"settle" default:"10s" min:"0s" max:"5m" doc:"how long the service is watched on a new configuration before that is the good one"`
	Drift          string              `json:"drift" default:"report" enum:"report|repair|keep" doc:"what becomes of a target that somebody changed by hand: report: health warns; repair: it is written anew, three times in ten minutes at most; keep: it stays, and health passes"`
	DriftEvery     time.Duration       `json:"drift_every" default:"1m" min:"1s" max:"24h" doc:"how often the targets are looked at for that"`
	Strict         bool                `json:"strict" doc:"every bundle is taken as if it said strict: a section whose key stands nowhere in the data is an error"`
	TrustedKeys    []string            `json:"trusted_keys" doc:"ed25519 keys, of which one must have signed every version: ed25519:<base64>, or a line of OpenSSH"`
	MinSerial      uint64              `json:"min_serial" doc:"versions with a lower serial are not taken"`
	Targets        []string            `json:"targets" default:"/etc /srv /opt /run" doc:"what bundles may write: paths, with all below them, or globs with ** and *"`
	Actions        map[string][]string `json:"actions" doc:"commands that bundles may name as check or reload; {{path}} is the staged file, {{root}} a directory of all targets"`
	BundleCommands bool                `json:"bundle_commands" doc:"bundles may bring commands of their own"`
	Secrets        map[string]string   `json:"secrets" doc:"name in templates → file that holds the secret"`
	Env            []string            `json:"env" doc:"environment variables that templates may use"`
}

var (
	wordForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
)

// CheckSettings reports what is wrong with the section beyond single values.
func (s *configSettings) CheckSettings(report func(key, message string)) {
	if s.Source != "" {
		if _, _, err := s.sourceKind(); err != nil {
			report("source", err.Error())
		}
	}
	for i, key := range s.TrustedKeys {
		if _, err := bundle.ParsePublicKey(key); err != nil {
			report(fmt.Sprintf("trusted_keys[%d]", i), err.Error())
		}
	}
	for i, glob := range s.Targets {
		if !path.IsAbs(glob) || path.Clean(glob) != glob || !doublestar.ValidatePattern(glob) {
			report(fmt.Sprintf("targets[%d]", i), fmt.Sprintf("must be an absolute, clean path or glob, got %q", glob))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Actions)) {
		argv := s.Actions[name]
		switch {
		case !wordForm.MatchString(name) || name == "none" || name == "restart":
			report("actions."+name, "must be a name of letters, digits, _ . and - that is not built in (none, restart, signal:…)")
		case len(argv) == 0 || argv[0] == "":
			report("actions."+name, "must be a command and its arguments, as a list")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if !wordForm.MatchString(name) || strings.Contains(name, ".") {
			report("secrets."+name, "must be a name of letters, digits, _ and -")
		} else if !filepath.IsAbs(s.Secrets[name]) {
			report("secrets."+name, fmt.Sprintf("must be the absolute path of a file, got %q", s.Secrets[name]))
		}
	}
	for i, name := range s.Env {
		if !nameForm.MatchString(name) || strings.HasPrefix(name, "HUB_TOKEN") {
			report(fmt.Sprintf("env[%d]", i), fmt.Sprintf("must be the name of an environment variable, got %q", name))
		}
	}
}

// sourceKind splits the source into "https" and its URL, or "dir" and its path.
func (s *configSettings) sourceKind() (kind, where string, err error) {
	if dir, ok := strings.CutPrefix(s.Source, "dir:"); ok {
		if !filepath.IsAbs(dir) {
			return "", "", fmt.Errorf("must name an absolute path, got %q", s.Source)
		}
		return "dir", filepath.Clean(dir), nil
	}
	u, err := url.Parse(s.Source)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("must be https://<host>[:<port>] or dir:<absolute path>, got %q", s.Source)
	}
	return "https", s.Source, nil
}

// trustedKeys are the parsed keys; CheckSettings has judged them.
func (s *configSettings) trustedKeys() []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	for _, text := range s.TrustedKeys {
		if key, err := bundle.ParsePublicKey(text); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// policy is what the settings allow a bundle; own are the places of the hubs on this machine.
func (s *configSettings) policy(own ...string) apply.Policy {
	return apply.Policy{Targets: s.Targets, Actions: s.Actions, BundleCommands: s.BundleCommands, Never: own}
}

// allSettings is what confighub reads.
type allSettings struct {
	Identity identity.Settings `json:"identity"`
	Config   configSettings    `json:"config"`

	// stand says why these are kept settings that stand in for wrong ones; "" when they are not.
	stand string
}

func (s *allSettings) sections() []hubfile.Section {
	return []hubfile.Section{{Name: "identity", Into: &s.Identity}, {Name: "config", Into: &s.Config}}
}

// sections for --check and --schema, which keep no values.
func sections() []hubfile.Section { return new(allSettings).sections() }

// contradiction says what the sections say against each other.
func (s *allSettings) contradiction() error {
	kind, _, err := s.Config.sourceKind()
	if s.Config.Source == "" || err != nil || kind != "https" {
		return nil
	}
	if s.Identity.CAURL == "" {
		return fmt.Errorf("config.source: %s wants a certificate from its clients: set identity.ca_url and identity.ca_fingerprint", s.Config.Source)
	}
	if s.Identity.Service == "" {
		return fmt.Errorf("config.source: %s keeps bundles of containers: set identity.host, identity.stack and identity.service", s.Config.Source)
	}
	return nil
}

const goodSettingsFile = "settings.json"

// saveGood keeps the settings that a service lives with, for a start with broken ones.
func (s *allSettings) saveGood(dir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keeping the settings: %w", err)
	}
	name := filepath.Join(dir, goodSettingsFile)
	if old, err := os.ReadFile(name); err == nil && string(old) == string(raw) {
		return nil
	}
	if err := atomicfile.Write(name, raw, 0o600); err != nil {
		return fmt.Errorf("keeping the settings: %w", err)
	}
	return nil
}

// loadGood reads what saveGood kept.
func loadGood(dir string) (*allSettings, error) {
	raw, err := os.ReadFile(filepath.Join(dir, goodSettingsFile))
	if err != nil {
		return nil, err
	}
	s := new(allSettings)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("reading the kept settings: %w", err)
	}
	return s, nil
}
