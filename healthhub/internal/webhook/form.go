// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/hashicorp/go-retryablehttp"

	"cloud4.internal/hub/internal/hubfile"
)

// Bounds of a request.
const (
	maxSecret = 64 << 10
	maxOutput = 64 << 10 // of one template
	maxDepth  = 16       // of a body
)

// Form is the shape of the requests to one receiver.
type Form struct {
	Preset     string            // one of Presets, for what is empty of the rest; "": none
	Method     string            // "": POST
	URL        string            // template
	URLFile    string            // a file that URL stands in
	SecretFile string            // a file that Message.Secret stands in
	Headers    map[string]string // name → template, over those of the preset
	Body       json.RawMessage   // a string, an object or a list; nil: the preset's, else the text
	CA         string            // whose roots to trust: "" or CASystem, CAFleet, or a PEM file
}

// Presets are the forms that are known by name. The documentation shows each of them as settings.
var Presets = map[string]Form{
	// https://docs.ntfy.sh/publish/
	"ntfy": {
		Headers: map[string]string{
			"Title": "{{.Title}}", "Priority": "{{.Priority}}", "Authorization": bearer,
			"Tags": `{{if .Test}}test_tube{{else if eq .State "fail"}}rotating_light{{else if eq .State "pass"}}white_check_mark{{else}}warning{{end}}`,
		},
		Body: json.RawMessage(`"{{.Text}}"`),
	},
	// https://gotify.net/docs/pushmsg
	"gotify": {
		Headers: map[string]string{"X-Gotify-Key": "{{.Secret}}"},
		Body:    json.RawMessage(`{"title": "{{.Title}}", "message": "{{.Text}}", "priority": "={{if eq .State \"fail\"}}8{{else if eq .State \"pass\"}}2{{else}}5{{end}}"}`),
	},
	// https://api.slack.com/messaging/webhooks; Mattermost, Rocket.Chat and others take the same
	"slack": {Body: json.RawMessage(`{"text": "*{{slack .Title}}*\n{{slack .Text}}"}`)},
	// https://discord.com/developers/docs/resources/webhook#execute-webhook
	"discord": {Body: json.RawMessage(`{"content": "**{{.Title}}**\n{{.Text}}", "allowed_mentions": {"parse": []}}`)},
	// https://spec.matrix.org/v1.11/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
	"matrix": {
		Method: http.MethodPut, Headers: map[string]string{"Authorization": bearer},
		Body: json.RawMessage(`{"msgtype": "m.text", "body": "{{.Title}}\n{{.Text}}"}`),
	},
}

const bearer = "{{with .Secret}}Bearer {{.}}{{end}}"

// form is a Form whose templates are read.
type form struct {
	Form
	url     *template.Template // nil: it stands in URLFile
	headers map[string]*template.Template
	body    any // *template.Template, or what JSON holds with *leaf for its strings
	text    bool
}

// leaf is a string in a body of JSON.
type leaf struct {
	template *template.Template
	value    bool // what it prints is JSON
}

// Check says what is wrong with a form, and of which key of the settings it is. Files are not looked at: they may come later.
func Check(f Form) (key string, err error) {
	_, err = compile(f)
	if bad, ok := errors.AsType[*keyError](err); ok {
		return bad.key, bad.err
	}
	return "", err
}

type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// compile reads the templates of a form and tries them out with the samples.
func compile(f Form) (*form, error) {
	wrong := func(key string, err error) (*form, error) { return nil, &keyError{key, err} }
	f, err := f.filled()
	if err != nil {
		return wrong("preset", err)
	}
	out := &form{Form: f, headers: map[string]*template.Template{}}
	switch {
	case f.URL != "" && f.URLFile != "":
		return wrong("url_file", errors.New("stands beside url: keep one of them"))
	case f.URL == "" && f.URLFile == "":
		return wrong("url", errors.New("is missing: where to, or url_file with the name of a file that says it"))
	case f.URLFile != "":
	default:
		if out.url, err = parse(f.URL); err != nil {
			return wrong("url", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		if strings.Trim(name, tokenChars) != "" || name == "" {
			return wrong("headers", fmt.Errorf("%.80q is no name of a header", name))
		}
		if out.headers[http.CanonicalHeaderKey(name)], err = parse(f.Headers[name]); err != nil {
			return wrong("headers."+name, err)
		}
	}
	if err := out.parseBody(); err != nil {
		return wrong("body", err)
	}
	for _, sample := range samples {
		if out.url != nil {
			if _, err := address(out.url, sample); err != nil {
				return wrong("url", err)
			}
		}
		for name, t := range out.headers {
			if _, err := execute(t, sample); err != nil {
				return wrong("headers."+name, err)
			}
		}
		if _, err := out.bodyOf(sample, true); err != nil {
			return wrong("body", err)
		}
	}
	return out, nil
}

// tokenChars are those of a header's name (RFC 9110, 5.6.2).
const tokenChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// filled is the form with what its preset has and it has not.
func (f Form) filled() (Form, error) {
	if f.Preset == "" {
		f.Method = or(f.Method, http.MethodPost)
		return f, nil
	}
	preset, ok := Presets[f.Preset]
	if !ok {
		return f, fmt.Errorf("there is no preset %.80q, there are %s", f.Preset, strings.Join(slices.Sorted(maps.Keys(Presets)), ", "))
	}
	f.Method = or(or(f.Method, preset.Method), http.MethodPost)
	headers := map[string]string{}
	for _, from := range []map[string]string{preset.Headers, f.Headers} {
		for name, value := range from {
			headers[http.CanonicalHeaderKey(name)] = value
		}
	}
	f.Headers = headers
	if f.Body == nil {
		f.Body = preset.Body
	}
	return f, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// parseBody reads the templates of the body.
func (f *form) parseBody() error {
	if f.Body == nil {
		f.Body = json.RawMessage(`"{{.Title}}\n{{.Text}}"`)
	}
	d := json.NewDecoder(bytes.NewReader(f.Body))
	d.UseNumber()
	var raw any
	if err := d.Decode(&raw); err != nil {
		return err
	}
	var err error
	switch raw := raw.(type) {
	case string:
		f.text = true
		f.body, err = parse(raw)
	case map[string]any, []any:
		f.body, err = parseJSON(raw, 0)
	default:
		err = errors.New("must be a text, an object or a list")
	}
	return err
}

// parseJSON is a value with its strings made templates; the names in objects stay what they are.
func parseJSON(raw any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d", maxDepth)
	}
	var err error
	switch raw := raw.(type) {
	case map[string]any:
		for key, value := range raw {
			if raw[key], err = parseJSON(value, depth+1); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
	case []any:
		for i, value := range raw {
			if raw[i], err = parseJSON(value, depth+1); err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case string:
		source, value := strings.CutPrefix(raw, "=")
		t, err := parse(source)
		return &leaf{t, value}, err
	}
	return raw, nil
}

// functions are those of templates besides the ones of text/template.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		data, err := json.Marshal(v)
		return string(data), err
	},
	"slack": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
	"upper": strings.ToUpper,
}

func parse(source string) (*template.Template, error) {
	t, err := template.New("template").Funcs(functions).Parse(source)
	return t, plain(err)
}

// plain takes off an error what only the library knows.
func plain(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), "template: "))
}

// execute is what a template prints.
func execute(t *template.Template, m Message) (string, error) {
	var b strings.Builder
	err := t.Execute(&limited{&b, maxOutput}, m)
	return b.String(), plain(err)
}

// limited takes so many bytes.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("prints more than %d bytes", maxOutput)
	}
	return l.to.Write(p)
}

// bodyOf is the body of a message. strict refuses a leaf that should be a JSON value and is not; else it is sent as the text that it is, since
// a message in a wrong shape is better than none.
func (f *form) bodyOf(m Message, strict bool) ([]byte, error) {
	if t, ok := f.body.(*template.Template); ok {
		text, err := execute(t, m)
		return []byte(text), err
	}
	filled, err := fill(f.body, m, strict)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(filled)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

func fill(body any, m Message, strict bool) (any, error) {
	var err error
	switch body := body.(type) {
	case map[string]any:
		out := make(map[string]any, len(body))
		for key, value := range body {
			if out[key], err = fill(value, m, strict); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(body))
		for i, value := range body {
			if out[i], err = fill(value, m, strict); err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return out, nil
	case *leaf:
		text, err := execute(body.template, m)
		switch {
		case err != nil || !body.value:
			return text, err
		case json.Valid([]byte(text)):
			return json.RawMessage(text), nil
		case strict:
			return nil, fmt.Errorf("begins with =, but prints no JSON: %.80q", text)
		}
		return text, nil
	}
	return body, nil
}

// address is the URL that a template prints.
func address(t *template.Template, m Message) (*url.URL, error) {
	text, err := execute(t, m)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return nil, errors.New("must be https://<host>/… or http://<host>/…") // without what it is: it may be a secret
	}
	return u, nil
}

// request is one, with what must not be seen of it.
type request struct {
	*retryablehttp.Request
	secrets []string
}

// host is the only part of the URL that may be shown.
func (r *request) host() string { return r.URL.Host }

// request makes the request of a message.
func (f *form) request(ctx context.Context, m Message) (*request, error) {
	out := &request{}
	if f.SecretFile != "" {
		secret, err := readSecret(f.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
		m.Secret = secret
		out.hide(secret)
	}
	t := f.url
	if t == nil {
		text, err := readSecret(f.URLFile)
		if err != nil {
			return nil, fmt.Errorf("url_file: %w", err)
		}
		if t, err = parse(text); err != nil {
			return nil, fmt.Errorf("url_file: %s: is no template", f.URLFile)
		}
	}
	u, err := address(t, m)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	out.hide(u.String(), u.RequestURI(), u.Path, u.RawQuery)
	if password, ok := u.User.Password(); ok {
		out.hide(password)
	}
	body, err := f.bodyOf(m, false)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if out.Request, err = retryablehttp.NewRequestWithContext(ctx, f.Method, u.String(), body); err != nil {
		return nil, fmt.Errorf("url: %s cannot be asked", u.Host)
	}
	out.Header.Set("Content-Type", "application/json")
	if f.text {
		out.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for name, t := range f.headers {
		value, err := execute(t, m)
		if err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		value = headerValue(value)
		if value == "" {
			continue
		}
		if secretive.MatchString(name) {
			out.hide(strings.Fields(value)...)
		}
		out.Header.Set(name, value)
	}
	return out, nil
}

// secretive are the names of headers whose values are not to be seen, wherever they come from.
var secretive = regexp.MustCompile(`(?i)auth|cookie|key|pass|secret|token`)

// headerValue makes a header of any text: one line, and beyond ASCII as RFC 2047 writes it, which ntfy reads.
func headerValue(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(s), " "))
}

// minSecret is how short a secret is not hidden: its letters would be cut out of every word.
const minSecret = 5

func (r *request) hide(secrets ...string) {
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) >= minSecret {
			r.secrets = append(r.secrets, s)
		}
	}
}

// conceal takes out of words what must not be seen.
func (r *request) conceal(words string) string {
	for _, s := range r.secrets {
		words = strings.ReplaceAll(words, s, "…")
	}
	return words
}

func readSecret(path string) (string, error) {
	data, err := hubfile.ReadFile(path, maxSecret)
	return strings.TrimSpace(string(data)), err
}
