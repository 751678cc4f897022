// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// taken is a request as a receiver sees it.
type taken struct {
	Method, Path string
	Header       http.Header
	Body         string
}

// receiver is a server that answers as told and keeps what it got.
func receiver(t *testing.T, answer http.HandlerFunc) (url string, got *[]taken) {
	t.Helper()
	got = new([]taken)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = append(*got, taken{r.Method, r.URL.Path, r.Header, string(body)})
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func hook(t *testing.T, f Form) *Hook {
	t.Helper()
	h, err := New(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.client.RetryWaitMin, h.client.RetryWaitMax = time.Millisecond, 2*time.Millisecond
	t.Cleanup(h.Close)
	return h
}

// nasty is a message whose texts come from somebody who wants to break out of them.
var nasty = Message{
	ID: "abc123", Title: "vm1: web fails – \"}, <!channel> @everyone\r\nX-Evil: 1", Text: "✕ fail web: \"\\ {{.Secret}} </script> & <http://x|y>\nsecond line",
	Status: StatusProblem, State: "fail", Priority: 5, Level: "host", Name: "vm1",
}

func TestBodiesCannotBeBroken(t *testing.T) {
	url, got := receiver(t, nil)
	h := hook(t, Form{
		URL: url + "/in/{{.ID}}", Headers: map[string]string{"x-title": "{{.Title}}", "X-None": "{{.Secret}}"},
		Body: json.RawMessage(`{"a": "{{.Title}}", "list": ["{{.Text}}", 1, true, null], "n": "={{.Priority}}", "items": "={{json .Items}}", "k{{.ID}}": 1.50}`),
	})
	if _, err := h.Send(t.Context(), nasty); err != nil {
		t.Fatal(err)
	}
	r := (*got)[0]
	var body map[string]any
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		t.Fatalf("%v in %s", err, r.Body)
	}
	want := map[string]any{"a": nasty.Title, "list": []any{nasty.Text, 1.0, true, nil}, "n": 5.0, "items": nil, "k{{.ID}}": 1.5}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	if r.Path != "/in/abc123" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Evil") != "" || r.Header.Values("X-None") != nil {
		t.Errorf("%+v", r)
	}
	if got := r.Header.Get("X-Title"); !strings.HasPrefix(got, "=?utf-8?q?") || strings.ContainsAny(got, "\r\n") {
		t.Errorf("header %q", got)
	}
}

// A leaf that shall be JSON, and for some message is not, is sent as the text that it is.
func TestLeafThatIsNoJSON(t *testing.T) {
	url, got := receiver(t, nil)
	h := hook(t, Form{URL: url, Body: json.RawMessage(`{"n": "={{if eq .Status \"problem\"}}{{if eq .Name \"vm1\"}}5{{else}}oh \"no{{end}}{{else}}1{{end}}"}`)})
	m := nasty
	m.Name = "vm2"
	if _, err := h.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if want := `{"n":"oh \"no"}`; (*got)[0].Body != want {
		t.Errorf("got %s, want %s", (*got)[0].Body, want)
	}
}

func TestTextBodies(t *testing.T) {
	url, got := receiver(t, nil)
	for body, want := range map[string]string{"": nasty.Title + "\n" + nasty.Text, `"{{upper .State}}: {{json .Name}}"`: `FAIL: "vm1"`} {
		*got = nil
		if _, err := hook(t, Form{URL: url, Body: json.RawMessage(body)}.unset()).Send(t.Context(), nasty); err != nil {
			t.Fatal(err)
		}
		if r := (*got)[0]; r.Body != want || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("got %q as %s, want %q", r.Body, r.Header.Get("Content-Type"), want)
		}
	}
}

// unset makes no body of an empty one.
func (f Form) unset() Form {
	if len(f.Body) == 0 {
		f.Body = nil
	}
	return f
}

// Each preset is what its service documents. The requests are judged as the services' documentation says, strictly.
func TestPresets(t *testing.T) {
	const secret = "tk_secret123"
	fields := func(t *testing.T, r taken, want ...string) map[string]any {
		t.Helper()
		var body map[string]any
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
			t.Fatalf("%v in %s", err, r.Body)
		}
		for key := range body {
			if !strings.Contains(" "+strings.Join(want, " ")+" ", " "+key+" ") {
				t.Errorf("%q is no key that is documented", key)
			}
		}
		if r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("content type %s", r.Header.Get("Content-Type"))
		}
		return body
	}
	judges := map[string]func(t *testing.T, r taken){
		"ntfy": func(t *testing.T, r taken) {
			title, err := new(mime.WordDecoder).DecodeHeader(r.Header.Get("Title"))
			if err != nil || title != strings.Join(strings.Fields(nasty.Title), " ") || r.Header.Get("Priority") != "5" || r.Header.Get("Tags") != "rotating_light" {
				t.Errorf("%q %v %v", title, err, r.Header)
			}
			if r.Method != "POST" || r.Body != nasty.Text || r.Header.Get("Authorization") != "Bearer "+secret {
				t.Errorf("%+v", r)
			}
		},
		"gotify": func(t *testing.T, r taken) {
			body := fields(t, r, "title", "message", "priority", "extras")
			if r.Method != "POST" || r.Header.Get("X-Gotify-Key") != secret || body["title"] != nasty.Title || body["message"] != nasty.Text || body["priority"] != 8.0 {
				t.Errorf("%+v", r)
			}
		},
		"slack": func(t *testing.T, r taken) {
			body := fields(t, r, "text")
			text, _ := body["text"].(string)
			if r.Method != "POST" || strings.ContainsAny(text, "<>") || !strings.Contains(text, "&lt;!channel&gt;") || !strings.Contains(text, "second line") {
				t.Errorf("%+v", r)
			}
		},
		"discord": func(t *testing.T, r taken) {
			body := fields(t, r, "content", "allowed_mentions")
			content, _ := body["content"].(string)
			mentions, _ := body["allowed_mentions"].(map[string]any)
			if parse, ok := mentions["parse"].([]any); r.Method != "POST" || !ok || len(parse) != 0 || utf8.RuneCountInString(content) > 2000 || !strings.Contains(content, nasty.Text) {
				t.Errorf("%+v", r)
			}
		},
		"matrix": func(t *testing.T, r taken) {
			body := fields(t, r, "msgtype", "body")
			if r.Method != "PUT" || !strings.HasSuffix(r.Path, "/abc123") || body["msgtype"] != "m.text" || r.Header.Get("Authorization") != "Bearer "+secret {
				t.Errorf("%+v", r)
			}
		},
	}
	for name := range Presets {
		t.Run(name, func(t *testing.T) {
			url, got := receiver(t, nil)
			h := hook(t, Form{Preset: name, URL: url + "/hook/{{.ID}}", SecretFile: file(t, secret+"\n")})
			if _, err := h.Send(t.Context(), nasty); err != nil {
				t.Fatal(err)
			}
			judge := judges[name]
			if judge == nil {
				t.Fatal("nothing judges this preset")
			}
			judge(t, (*got)[0])
		})
	}
}

// The longest message there can be fits where least does.
func TestLongestMessage(t *testing.T) {
	url, got := receiver(t, nil)
	m := nasty
	m.Title, m.Text = strings.Repeat("t", MaxTitle), strings.Repeat("x", MaxText)
	if _, err := hook(t, Form{Preset: "discord", URL: url}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var body struct{ Content string }
	if err := json.Unmarshal([]byte((*got)[0].Body), &body); err != nil || len(body.Content) > 2000 {
		t.Errorf("%d characters, %v", len(body.Content), err)
	}
}

func TestBadForms(t *testing.T) {
	for name, test := range map[string]struct {
		form      Form
		key, want string
	}{
		"nowhere":       {Form{}, "url", "is missing"},
		"twice":         {Form{URL: "https://a", URLFile: "/b"}, "url_file", "beside url"},
		"no URL":        {Form{URL: "ntfy.sh/secretpath"}, "url", "must be https://<host>"},
		"other scheme":  {Form{URL: "file:///etc/passwd"}, "url", "must be https://<host>"},
		"preset":        {Form{Preset: "pager", URL: "https://a"}, "preset", "there are discord, gotify"},
		"unknown field": {Form{URL: "https://a", Body: json.RawMessage(`{"a": ["{{.Titel}}"]}`)}, "body", "a: [0]: "},
		"half template": {Form{URL: "https://a", Headers: map[string]string{"X": "{{.Title"}}, "headers.X", "unclosed action"},
		"header":        {Form{URL: "https://a", Headers: map[string]string{"X y": "1"}}, "headers", "is no name of a header"},
		"number":        {Form{URL: "https://a", Body: json.RawMessage(`7`)}, "body", "must be a text, an object or a list"},
		"no JSON":       {Form{URL: "https://a", Body: json.RawMessage(`{"n": "={{.Title}}"}`)}, "body", "prints no JSON"},
		"endless":       {Form{URL: "https://a", Body: json.RawMessage(`"{{printf \"%070000d\" 1}}"`)}, "body", "more than 65536 bytes"},
		"deep":          {Form{URL: "https://a", Body: json.RawMessage(strings.Repeat("[", 30) + strings.Repeat("]", 30))}, "body", "deeper than"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := Check(test.form)
			if err == nil || key != test.key || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secretpath") {
				t.Errorf("%s: %v, want %s: %s", key, err, test.key, test.want)
			}
		})
	}
}

// What a receiver does must neither hang nor tell what is secret.
func TestBadReceivers(t *testing.T) {
	const secret, path = "tk_verysecret", "/T000/B000/alsosecret"
	send := func(t *testing.T, url string) error {
		t.Helper()
		h := hook(t, Form{URLFile: file(t, url+path+"?k=querysecret\n"), SecretFile: file(t, secret), Headers: map[string]string{"X-Api-Key": "headersecret", "Authorization": "{{.Secret}}"}})
		_, err := h.Send(t.Context(), nasty)
		if err == nil {
			t.Fatal("it arrived")
		}
		for _, s := range []string{secret, "alsosecret", "querysecret", "headersecret", "T000"} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("tells %s: %v", s, err)
			}
		}
		if len(err.Error()) > 600 {
			t.Errorf("%d bytes of words", len(err.Error()))
		}
		return err
	}
	want := func(t *testing.T, err error, words string, wrong bool, after time.Duration) {
		t.Helper()
		e, ok := err.(*Error)
		if !ok || !strings.Contains(e.Words, words) || e.Wrong != wrong || e.After != after {
			t.Errorf("%+v, want %q, wrong %t, after %v", err, words, wrong, after)
		}
	}
	t.Run("echoes", func(t *testing.T) {
		url, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no such hook "+r.URL.String()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Api-Key"), 404)
		})
		want(t, send(t, url), "404 Not Found: no such hook", true, 0)
		if len(*got) != 1 {
			t.Errorf("asked %d times", len(*got))
		}
	})
	t.Run("500", func(t *testing.T) {
		url, got := receiver(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
		want(t, send(t, url), "500 Internal Server Error", false, 0)
		if len(*got) != tries {
			t.Errorf("asked %d times, want %d", len(*got), tries)
		}
	})
	t.Run("recovers", func(t *testing.T) {
		var n atomic.Int32
		url, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) < tries {
				w.WriteHeader(503)
			}
		})
		if _, err := hook(t, Form{URL: url}).Send(t.Context(), nasty); err != nil || (*got)[0].Body != (*got)[tries-1].Body {
			t.Errorf("%v after %d", err, len(*got))
		}
	})
	t.Run("retry after", func(t *testing.T) {
		url, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(429)
		})
		want(t, send(t, url), "429 Too Many Requests", false, maxAfter)
		if len(*got) != 1 {
			t.Errorf("asked %d times", len(*got))
		}
	})
	t.Run("redirect", func(t *testing.T) {
		var stolen atomic.Bool
		thief, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) { stolen.Store(true) })
		url, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief+r.URL.String(), http.StatusTemporaryRedirect)
		})
		want(t, send(t, url), "redirects are not followed", true, 0)
		if stolen.Load() {
			t.Error("the redirect was followed")
		}
	})
	t.Run("endless answer", func(t *testing.T) {
		url, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat("no ", 10000))); err != nil {
					return
				}
			}
		})
		want(t, send(t, url), "400 Bad Request: no no no", true, 0)
	})
	t.Run("hangs", func(t *testing.T) {
		url, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		h := hook(t, Form{URL: url})
		h.client.HTTPClient.Timeout = 50 * time.Millisecond
		_, err := h.Send(t.Context(), nasty)
		want(t, err, "no answer in time", false, 0)
	})
	t.Run("told to end", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		url, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
		_, err := hook(t, Form{URL: url}).Send(ctx, nasty)
		want(t, err, "given up", false, 0)
	})
	t.Run("nobody", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		want(t, send(t, "http://"+l.Addr().String()), l.Addr().String()+": ", false, 0)
	})
	t.Run("no such host", func(t *testing.T) {
		want(t, send(t, "http://nowhere.invalid"), "nowhere.invalid: ", false, 0)
	})
}

func TestSecretFilesAreReadAgain(t *testing.T) {
	url, got := receiver(t, nil)
	path := filepath.Join(t.TempDir(), "token")
	h := hook(t, Form{URL: url, SecretFile: path, Headers: map[string]string{"Authorization": bearer}})
	if _, err := h.Send(t.Context(), nasty); err == nil || !strings.Contains(err.Error(), "secret_file") {
		t.Errorf("without its file: %v", err)
	}
	for _, secret := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Send(t.Context(), nasty); err != nil {
			t.Fatal(err)
		}
		if auth := (*got)[len(*got)-1].Header.Get("Authorization"); auth != "Bearer "+secret {
			t.Errorf("sent %q", auth)
		}
	}
}

// Certificates are checked: by the system's roots, or those of a file.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	roots := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	for ca, want := range map[string]string{"": "not trusted", CASystem: "not trusted", roots: "", "/nowhere": "/nowhere", file(t, "none"): "holds no certificate", CAFleet: "no certificate yet"} {
		_, err := hook(t, Form{URL: s.URL, CA: ca}).Send(t.Context(), nasty)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ca %q: %v, want %q", ca, err, want)
		}
	}
}

// A proxy of the environment would see what is sent.
func TestNoProxy(t *testing.T) {
	url, _ := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	t.Setenv("HTTP_PROXY", url)
	t.Setenv("http_proxy", url)
	if _, err := hook(t, Form{URL: "http://nowhere.invalid/"}).Send(t.Context(), nasty); err == nil {
		t.Error("it arrived")
	}
}
