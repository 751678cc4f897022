// SPDX-License-Identifier: AGPL-3.0-or-later

package door

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/mtls"
)

// house is a server behind a door.
type house struct {
	*httptest.Server
	tokens *Tokens
	client *http.Client // with a jar for cookies
	mu     sync.Mutex
	said   []mtls.Refusal
}

func build(t *testing.T, secure bool) *house {
	t.Helper()
	h := &house{tokens: OpenTokens(filepath.Join(t.TempDir(), "health"))}
	door := New(Config{Tokens: h.tokens, Names: func() []string { return []string{"vm1.internal"} }, Refused: func(r mtls.Refusal) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.said = append(h.said, r)
	}, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "inside") })})
	h.Server = httptest.NewUnstartedServer(door)
	if secure {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	h.client = h.Client()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.client.Jar = jar
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return h
}

// do sends a request; header is names and values in turns, Host among them.
func (h *house) do(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, h.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func (h *house) token(t *testing.T) string {
	t.Helper()
	token, err := h.tokens.Make()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestLogin(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h := build(t, secure)
		if resp, body := h.do(t, "GET", "/", ""); resp.StatusCode != 401 || !strings.Contains(body, "None has been made yet") {
			t.Errorf("no token: %s %s", resp.Status, body)
		}
		token := h.token(t)
		if resp, body := h.do(t, "GET", "/?at=vm1/%22%3E%3Cscript%3E", ""); resp.StatusCode != 401 || !strings.Contains(body,
			`name="at" value="vm1/&#34;&gt;&lt;script&gt;"`) {
			t.Errorf("stranger: %s %s", resp.Status, body)
		}
		resp, _ := h.do(t, "POST", "/login", url.Values{"token": {" " + token + "\n"}, "at": {"vm1/web & more"}}.Encode())
		if resp.StatusCode != 303 || resp.Header.Get("Location") != "./?at=vm1%2Fweb+%26+more&" {
			t.Fatalf("login: %s to %q", resp.Status, resp.Header.Get("Location"))
		}
		cookie := resp.Cookies()[0]
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure != secure ||
			strings.HasPrefix(cookie.Name, "__Host-") != secure ||
			cookie.Domain != "" || strings.Contains(cookie.Value, token) {
			t.Errorf("cookie: %s", resp.Header.Get("Set-Cookie"))
		}
		for _, path := range []string{"/", "/v1/events"} {
			if _, body := h.do(t, "GET", path, ""); body != "inside" {
				t.Errorf("with the cookie: %s", body)
			}
		}
		h.token(t) // another
		if resp, _ := h.do(t, "GET", "/", ""); resp.StatusCode != 401 {
			t.Errorf("a cookie of the token before opens: %s", resp.Status)
		}
		h.mu.Lock()
		if said := fmt.Sprint(h.said); strings.Contains(said, token) {
			t.Errorf("the token is told: %s", said)
		}
		h.mu.Unlock()
	}
}

func TestBearer(t *testing.T) {
	h := build(t, false)
	token := h.token(t)
	if _, body := h.do(t, "GET", "/v1/summary", "", "Authorization", "bearer "+token); body != "inside" {
		t.Error(body)
	}
	for header, want := range map[string]int{"Bearer " + token + "x": 401, "Bearer": 401, "Bearer ": 401, "Basic " + token: 401,
		"": 401} {
		resp, _ := h.do(t, "GET", "/v1/summary", "", "Authorization", header)
		if resp.StatusCode != want || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%q: %s", header, resp.Status)
		}
	}
}

func TestRefused(t *testing.T) {
	h := build(t, false)
	token := h.token(t)
	form := "token=" + token
	for name, test := range map[string]struct {
		method, path, body string
		header             []string
		want               int
	}{
		"token in the address":      {"GET", "/?token=" + token, "", nil, 400},
		"token in login's address":  {"GET", "/login?token=" + token, "", nil, 400},
		"token in the address only": {"POST", "/login?token=" + token, "", nil, 401},
		"another site logs in":      {"POST", "/login", form, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"an older browser's":        {"POST", "/login", form, []string{"Origin", "https://evil.example"}, 403},
		"long form":                 {"POST", "/login", "x=" + strings.Repeat("a", 8<<10) + "&" + form, nil, 400},
		"writing":                   {"POST", "/v1/mutes", "{}", []string{"Authorization", "Bearer " + token}, 405},
		"deleting":                  {"DELETE", "/v1/mutes", "", []string{"Authorization", "Bearer " + token}, 405},
		"no cookie":                 {"GET", "/v1/snapshot", "", nil, 401},
		"forged cookie":             {"GET", "/v1/snapshot", "", []string{"Cookie", "healthhub=99999999999.AAAA"}, 401},
		"cookie without key":        {"GET", "/v1/snapshot", "", []string{"Cookie", "healthhub=."}, 401},
		"framed form": {"GET", "/?at=x", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "iframe"},
			401},
		"the form": {"GET", "/login", "", nil, 200},
	} {
		resp, body := h.do(t, test.method, test.path, test.body, test.header...)
		if resp.StatusCode != test.want || strings.Contains(body, "inside") || strings.Contains(body, token) {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
		for key, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := resp.Header.Get(key); got != want {
				t.Errorf("%s: %s %q, want %q", name, key, got, want)
			}
		}
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", name, policy)
		}
	}
}

// A page elsewhere whose name points here reads nothing.
func TestRebinding(t *testing.T) {
	h := build(t, false)
	open := httptest.NewServer(New(Config{Next: http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		fmt.Fprint(w, "inside")
	}),
		Names: func() []string { return []string{"vm1.internal"} }}))
	defer open.Close()
	h.URL = open.URL
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8480": 200, "hub.localhost": 200, "localhost.": 200, "127.0.0.1:8480": 200, "[::1]:8480": 200, "[::1]": 200, "192.168.1.7": 200,
		"vm1.internal:1": 200, "VM1.internal.": 200, "evil.example": 421, "127.0.0.1.evil.example:80": 421, "vm1.internal.evil.example": 421, "notlocalhost": 421,
		"1.2.3": 421, "0x7f000001": 421,
	} {
		if resp, _ := h.do(t, "GET", "/v1/snapshot", "", "Host", host); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
	}
}

// From a link elsewhere the cookie, which is strict, does not come along at first: the page asks for itself, once.
func TestLinkFromElsewhere(t *testing.T) {
	h := build(t, false)
	h.token(t)
	from := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "document"}
	resp, body := h.do(t, "GET", "/?at=vm1/web", "", from...)
	if resp.StatusCode != 200 || !strings.Contains(body, `content="0; url=./?at=vm1%2Fweb&amp;again=1"`) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, body = h.do(t, "GET", "/?at=vm1/web&again=1", "", from...); resp.StatusCode != 401 || !strings.Contains(body,
		"<form") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// Guessing is slow; it locks out nobody else.
func TestTries(t *testing.T) {
	h := build(t, false)
	token := h.token(t)
	got := map[int]int{}
	var wait sync.WaitGroup
	var mu sync.Mutex
	for range 20 {
		wait.Go(func() {
			resp, _ := h.do(t, "POST", "/login", "token=wrong")
			mu.Lock()
			got[resp.StatusCode]++
			mu.Unlock()
		})
	}
	wait.Wait()
	if got[401] != triesAtOnce || got[429] != 20-triesAtOnce {
		t.Errorf("%v", got)
	}
	if resp, _ := h.do(t, "POST", "/login", "token="+token); resp.StatusCode != 429 {
		t.Errorf("guessing goes on beside the wait: %s", resp.Status)
	}
	synctest.Test(t, func(t *testing.T) {
		var tries tries
		one, other := netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")
		for range triesAtOnce {
			if !tries.take(one, time.Now()) {
				t.Fatal("refused at once")
			}
		}
		if tries.take(one, time.Now()) || !tries.take(other, time.Now()) {
			t.Error("one is not stopped, or the other is")
		}
		time.Sleep(triesEvery)
		if !tries.take(one, time.Now()) || tries.take(one, time.Now()) {
			t.Error("not one more after the wait")
		}
		for i := range 3 * maxSources {
			tries.take(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32), time.Now())
		}
		if len(tries.free) > maxSources {
			t.Errorf("%d sources are kept", len(tries.free))
		}
		for range 100 { // who is right is never stopped
			tries.take(other, time.Now())
			tries.forgive(other)
		}
		if !tries.take(other, time.Now()) {
			t.Error("right ones count")
		}
	})
}

// Widgets that all ask at one time are not guessing.
func TestManyWithTheToken(t *testing.T) {
	tokens := OpenTokens(t.TempDir())
	token, err := tokens.Make()
	if err != nil {
		t.Fatal(err)
	}
	door := New(Config{Tokens: tokens, Next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	var widgets sync.WaitGroup
	for range 50 {
		widgets.Go(func() {
			for range 50 {
				r, w := httptest.NewRequest(http.MethodGet, "http://localhost/v1/summary", nil), httptest.NewRecorder()
				r.Header.Set("Authorization", "Bearer "+token)
				if door.ServeHTTP(w, r); w.Code != http.StatusOK {
					t.Errorf("with the right token: %d %s", w.Code, w.Body)
					return
				}
			}
		})
	}
	widgets.Wait()
}

// Who was logged out hears no more, on a stream that was open before neither.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	tokens := OpenTokens(t.TempDir())
	token, err := tokens.Make()
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}, 2)
	server := httptest.NewServer(New(Config{Tokens: tokens, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		opened <- struct{}{}
		<-r.Context().Done()
	})}))
	defer server.Close()
	ended := make(chan string, 2)
	for header, value := range map[string]string{
		"Authorization": "Bearer " + token, "Cookie": plainCookie + "=" + tokens.Session(time.Now().Add(time.Hour)),
	} {
		go func() {
			client := &http.Client{Timeout: 10 * time.Second}
			req, _ := http.NewRequest(http.MethodGet, server.URL+"/v1/events", nil)
			req.Header.Set(header, value)
			resp, err := client.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			ended <- fmt.Sprint(header, " ", err)
		}()
	}
	<-opened
	<-opened
	if _, err := tokens.Make(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := <-ended; !strings.HasSuffix(got, "<nil>") {
			t.Errorf("the stream does not end: %s", got)
		}
	}
}

func TestSource(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.1:99": "10.0.0.1/32", "[::ffff:10.0.0.1]:99": "10.0.0.1/32", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64", "[fe80::1%eth0]:99": "fe80::/64", "@": "invalid Prefix",
	} {
		if got := source(remote).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := OpenTokens(t.TempDir())
		if tokens.Opens(tokens.Session(time.Now().Add(time.Hour)), time.Now()) {
			t.Error("a session without a token opens")
		}
		if _, err := tokens.Make(); err != nil {
			t.Fatal(err)
		}
		session := tokens.Session(time.Now().Add(time.Hour))
		if !tokens.Opens(session, time.Now()) {
			t.Error("it does not open")
		}
		end, signature, _ := strings.Cut(session, ".")
		for _, forged := range []string{"9" + session, end, end + ".", "." + signature, end + "." + signature + "A", ""} {
			if tokens.Opens(forged, time.Now()) {
				t.Errorf("%q opens", forged)
			}
		}
		time.Sleep(time.Hour)
		if tokens.Opens(session, time.Now()) {
			t.Error("it opens for ever")
		}
	})
}

func TestTokens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "health")
	tokens := OpenTokens(dir)
	if tokens.Made() || tokens.Check("") || tokens.Err() != nil {
		t.Error("there is a token before one is made")
	}
	token, err := OpenTokens(dir).Make() // as another process does
	if err != nil {
		t.Fatal(err)
	}
	if len(token) != 26 || !tokens.Made() || !tokens.Check(token) || tokens.Check(token[1:]) ||
		tokens.Check(strings.ToLower(token)) {
		t.Errorf("%q does not open, or something else does", token)
	}
	path := filepath.Join(dir, File)
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), token) {
		t.Errorf("%v %s", err, data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	for name, bad := range map[string]string{"empty": "", "cut": string(data[:40]),
		"large": strings.Repeat(" ", maxFileBytes+1), "hash of nothing": `{"schema":1,"token_sha256":"","session_key":""}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if tokens.Check(token) || tokens.Check("") || tokens.Made() || tokens.Err() == nil {
			t.Errorf("%s: opens, or is not told", name)
		}
	}
}
