// SPDX-License-Identifier: AGPL-3.0-or-later

package collect_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// ask sends a request with an identity.
func ask(t *testing.T, files *identity.Files, method, url, body string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: mtls.Transport(files, nil), Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A page elsewhere has an operator's browser ask, which shows the operator's certificate: what changes something is refused.
func TestForgedByAnotherSite(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	client := &http.Client{Transport: mtls.Transport(ca.Files(t, id(t, "/operator/desk")), nil), Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for _, ask := range [][2]string{{"POST", "/v1/mutes"}, {"DELETE", "/v1/mutes?path=web.shop.vm1"}, {"POST", collect.ForgetPath}} {
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"} {
			req, err := http.NewRequest(ask[0], host.url+ask[1], strings.NewReader(`{"path": "web.shop.vm1"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(header, value)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s with %s: %s", ask[0], ask[1], header, resp.Status)
			}
		}
	}
	host.waitRefusal(t, "/operator/desk", "pages of other sites")
}

// Operators mute and forget, nobody else; what was muted is remembered over a restart, and so is what happened.
func TestOperators(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	state := filepath.Join(t.TempDir(), "not", "there", "yet")
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", state)
	web := ca.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	desk := ca.Files(t, id(t, "/operator/desk"))
	failing := strings.Replace(body("web.shop.vm1", 1), `"pass"`, `"fail","children":[{"kind":"check","name":"page","state":"fail","flags":["critical"]}]`, 1)
	if status, words := post(t, web, host.url, failing); status != 204 {
		t.Fatalf("%d %s", status, words)
	}
	waitFor(t, 20*time.Second, func() bool { return host.Node().State == health.Fail })

	const mute = `{"path": "web.shop.vm1/page", "for": "2h", "reason": "a new version"}`
	for who, files := range map[string]*identity.Files{"its container": web, "the host": host.files, "genesis": ca.Files(t, id(t, "/genesis/health"))} {
		for method, path := range map[string]string{"POST": "/v1/mutes", "DELETE": "/v1/mutes?path=web.shop.vm1/page"} {
			if status, words := ask(t, files, method, host.url+path, mute); status != http.StatusForbidden {
				t.Errorf("%s may %s %s: %d %s", who, method, path, status, words)
			}
		}
		if status, words := ask(t, files, "POST", host.url+collect.ForgetPath, `{"path": "web.shop.vm1"}`); status != http.StatusForbidden {
			t.Errorf("%s may forget: %d %s", who, status, words)
		}
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/mutes", strings.Replace(mute, "{", `{"by": "crew", `, 1), 200, `"by":"desk for crew"`},
		{"POST", "/v1/mutes", mute, 200, `"by":"desk"`},
		{"POST", "/v1/mutes", `{"path": "web.shop.vm1/pag", "for": "2h", "reason": "x"}`, 404, "no such part"},
		{"POST", "/v1/mutes", `{"path": "web.shop.vm1", "for": "2h"}`, 400, "reason"},
		{"POST", "/v1/mutes", strings.Repeat("x", 20<<10), 400, "reading the mute"},
		{"GET", "/v1/mutes", "", 200, `"reason":"a new version"`},
		{"GET", "/v1/history?path=web.shop.vm1", "", 200, `"path":"web.shop.vm1","kind":"container"`},
		{"GET", "/v1/history?path=web.shop.vm2", "", 404, "no such part"},
		{"GET", "/v1/history?limit=x", "", 400, "limit"},
		{"POST", collect.ForgetPath, `{"path": "web.shop.vm1"}`, 409, "stop it first"},
		{"POST", collect.ForgetPath, `{"path": "web.shop.vm2"}`, 404, "has reported here"},
		{"POST", collect.ForgetPath, `{}`, 400, "must say"},
	} {
		if status, words := ask(t, desk, test.method, host.url+test.path, test.body); status != test.status || !strings.Contains(words, test.want) {
			t.Errorf("%s %s %.80s: %d %s, want %d with %s", test.method, test.path, test.body, status, words, test.status, test.want)
		}
	}
	waitFor(t, 20*time.Second, func() bool { return host.Node().State == health.Pass })
	page := host.Node().Children[0].Children[0]
	if page.State != health.Fail || !page.HasFlag(health.FlagMuted) {
		t.Errorf("what is muted: %v %v", page.State, page.Flags)
	}

	host.stop()
	again := serve(t, host.files, "127.0.0.1:0", state)
	if status, words := ask(t, desk, "GET", again.url+"/v1/mutes", ""); status != 200 || !strings.Contains(words, `"path":"web.shop.vm1/page"`) {
		t.Errorf("mutes after a restart: %d %s", status, words)
	}
	if status, words := post(t, web, again.url, strings.Replace(failing, `"seq":1`, `"seq":2`, 1)); status != 204 {
		t.Fatalf("%d %s", status, words)
	}
	waitFor(t, 20*time.Second, func() bool { return again.Node().State == health.Pass })
	_, words := ask(t, desk, "GET", again.url+"/v1/history", "")
	var told ledger.History
	if err := json.Unmarshal([]byte(words), &told); err != nil || len(told.Events) < 3 || !strings.Contains(words, "by desk: a new version") {
		t.Errorf("history after a restart: %s, %v", words, err)
	}
	if status, words := ask(t, desk, "DELETE", again.url+"/v1/mutes?path=web.shop.vm1/page", ""); status != 204 {
		t.Errorf("%d %s", status, words)
	}
	waitFor(t, 20*time.Second, func() bool { return again.Node().State == health.Fail })
	if _, words := ask(t, desk, "GET", again.url+"/v1/history", ""); !strings.Contains(words, "web.shop.vm1/page is not muted any more, says desk") {
		t.Errorf("who ended a mute: %s", words)
	}
}
