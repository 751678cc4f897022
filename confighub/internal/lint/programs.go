// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/bmatcuk/doublestar/v4"
	"github.com/tailscale/hujson"
	"go.yaml.in/yaml/v3"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/template"
)

// program is one that can judge its own configuration.
type program struct {
	// glob of targets.
	glob string
	// name of the action, and its command.
	name, command string
}

// programs that people run in containers, each with the command its own manual names for that.
var programs = []program{
	{"/**/nginx/nginx.conf", "nginx-test", `["nginx", "-t", "-q", "-c", "{{path}}"]`},
	{"/**/haproxy.cfg", "haproxy-test", `["haproxy", "-c", "-q", "-f", "{{path}}"]`},
	{"/**/{apache2,httpd}.conf", "apache-test", `["apachectl", "-t", "-f", "{{path}}"]`},
	{"/**/Caddyfile", "caddy-test", `["caddy", "validate", "--adapter", "caddyfile", "--config", "{{path}}"]`},
	{"/**/sshd_config", "sshd-test", `["sshd", "-t", "-f", "{{path}}"]`},
	{"/**/{sudoers,sudoers.d/*}", "sudo-test", `["visudo", "-c", "-q", "-f", "{{path}}"]`},
	{"/**/named.conf", "named-test", `["named-checkconf", "{{path}}"]`},
	{"/**/unbound.conf", "unbound-test", `["unbound-checkconf", "{{path}}"]`},
	{"/**/dnsmasq.conf", "dnsmasq-test", `["dnsmasq", "--test", "-C", "{{path}}"]`},
	{"/**/php-fpm.conf", "php-fpm-test", `["php-fpm", "-t", "-y", "{{path}}"]`},
	{"/**/prometheus.{yml,yaml}", "prometheus-test", `["promtool", "check", "config", "{{path}}"]`},
	{"/**/alertmanager.{yml,yaml}", "alertmanager-test", `["amtool", "check-config", "{{path}}"]`},
	{"/**/dovecot.conf", "dovecot-test", `["doveconf", "-n", "-c", "{{path}}"]`},
	{"/**/squid.conf", "squid-test", `["squid", "-k", "parse", "-f", "{{path}}"]`},
	{"/**/rsyslog.conf", "rsyslog-test", `["rsyslogd", "-N1", "-f", "{{path}}"]`},
	{"/**/*.{sh,bash}", "shell-test", `["sh", "-n", "{{path}}"]`},
}

// check names the check that a file of a known program lacks.
func (j *judge) check(at Place, name string, t bundle.Target) {
	if t.Template == "" || t.Env || !t.Check.IsZero() {
		return
	}
	for _, p := range programs {
		if ok, err := doublestar.Match(p.glob, name); ok && err == nil {
			j.report(at, Warning, "missing-check", fmt.Sprintf("add \"check\": %q, and to config.actions of the image %q: %s", p.name, p.name, p.command),
				"%s: is put in place unchecked, though its program can check it", name)
			return
		}
	}
}

// nginxFiles are those in which values want to be escaped for nginx, which .conf does not say.
const nginxFiles = "/**/nginx/**/*.conf"

// format finds values that are written into a file of nginx as they are, since nobody said its format.
func (j *judge) format(at Place, name string, t bundle.Target) {
	if ok, err := doublestar.Match(nginxFiles, name); !ok || err != nil || t.Env || t.Escape != "" || template.FormatOf(name) != "none" {
		return
	}
	if _, text, _ := j.bundle.Template(t.Template); bytes.Contains(text, []byte("{{")) {
		j.report(at, Warning, "no-format", `add "escape": "nginx"; "none" says that it is meant so`,
			"%s: values are written as they are, whatever is in them: the name does not say the format", name)
	}
}

// output reads a rendered target as its format, where that is one thing only.
func (j *judge) output(at Place, name string, t bundle.Target, text []byte) {
	var err error
	format := render.FormatOf(name, t)
	if format == "none" {
		format = template.FormatOf(name)
	}
	switch format {
	case "json":
		err = readJSON(text)
	case "xml":
		err = readXML(text)
	case "yaml":
		err = readYAML(text)
	case "toml":
		_, err = toml.Decode(string(text), new(map[string]any))
	case "env":
		if t.Env {
			_, err = render.ParseEnv(string(text))
		}
	}
	if err != nil {
		j.report(at, Error, "output", "look at it with confighub render", "%s: is rendered to what cannot be read: %v", name, err)
	}
}

// readJSON takes comments too: many programs do.
func readJSON(text []byte) error {
	plain, err := hujson.Standardize(bytes.Clone(text))
	if err == nil && !json.Valid(plain) {
		err = errors.New("is not JSON")
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "hujson: "))
	}
	return nil
}

func readXML(text []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(text))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readYAML reads all documents of a stream.
func readYAML(text []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		if err := dec.Decode(new(yaml.Node)); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
