// SPDX-License-Identifier: AGPL-3.0-or-later

package collect_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

func pack(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// postPacked sends a body with a Content-Encoding.
func postPacked(t *testing.T, files *identity.Files, url, encoding, body string) int {
	t.Helper()
	client := &http.Client{Transport: mtls.Transport(files, nil), Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodPost, url+"/v1/report", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", encoding)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// What is packed is held to the same limits as what is not.
func TestPackedReports(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	web := ca.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	bomb := pack(t, strings.Replace(body("web.shop.vm1", 1), `"pass"`, `"pass","text":"`+strings.Repeat("x", 64<<20)+`"`, 1))
	var before, after runtime.MemStats
	for name, test := range map[string]struct {
		encoding, body string
		status         int
	}{
		"packed":     {"gzip", pack(t, body("web.shop.vm1", 1)), 204},
		"a bomb":     {"gzip", bomb, 413},
		"not packed": {"gzip", body("web.shop.vm1", 1), 400},
		"cut short":  {"gzip", pack(t, body("web.shop.vm1", 1))[:40], 400},
		"other":      {"br", body("web.shop.vm1", 1), 415},
	} {
		runtime.ReadMemStats(&before)
		if status := postPacked(t, web, host.url, test.encoding, test.body); status != test.status {
			t.Errorf("%s: %d, want %d", name, status, test.status)
		}
		runtime.ReadMemStats(&after)
		if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 50 {
			t.Errorf("%s: took %d MiB", name, made)
		}
	}
}

// A report that is made to hurt is refused, or taken without what hurts, and what the others said stays.
func TestHostileReports(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	web := ca.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	if status, words := post(t, ca.Files(t, id(t, "/host/vm1/stack/shop/service/db")), host.url, body("db.shop.vm1", 1)); status != 204 {
		t.Fatalf("%d %s", status, words)
	}
	child := func(n int, rest string) string {
		return fmt.Sprintf(`{"kind":"check","name":"c%d","state":"pass"%s}`, n, rest)
	}
	var many []string
	for i := range 600 {
		many = append(many, child(i, ""))
	}
	with := func(children string) string {
		return strings.Replace(body("web.shop.vm1", 7), `"state":"pass"`, `"state":"pass","children":[`+children+`]`, 1)
	}
	deep := child(0, "")
	for range 2000 {
		deep = `{"kind":"check","name":"d","state":"pass","children":[` + deep + `]}`
	}
	for name, text := range map[string]string{
		"600 nodes":         with(strings.Join(many, ",")),
		"2000 levels":       with(deep),
		"two of one name":   with(child(1, "") + "," + child(1, "")),
		"a path as a name":  with(strings.Replace(child(1, ""), "c1", "../../etc/passwd<script>", 1)),
		"a long name":       with(strings.Replace(child(1, ""), "c1", strings.Repeat("a", 65), 1)),
		"flags":             with(child(1, `,"flags":["`+strings.Repeat(`x","`, 20)+`x"]`)),
		"a flag of markup":  with(child(1, `,"flags":["<b>"]`)),
		"a state":           with(strings.Replace(child(1, ""), `"pass"`, `"perfect"`, 1)),
		"a score":           with(child(1, `,"score":101`)),
		"values":            with(child(1, `,"values":[`+strings.Repeat(`{"name":"a","value":1},`, 17)+`{"name":"b","value":1}]`)),
		"infinite":          with(child(1, `,"took":1e999`)),
		"containers inside": with(`{"kind":"container","name":"db.shop.vm1","state":"fail"}`),
		"a huge sequence":   strings.Replace(body("web.shop.vm1", 7), `"seq":7`, `"seq":18446744073709551616`, 1),
	} {
		if status, words := post(t, web, host.url, text); status != 400 && status != 403 {
			t.Errorf("%s: %d %s", name, status, words)
		}
	}
	text := `\u001b]0;owned\u0007\u001b[2Jsee \u202ehttps://evil/\u2066 <img src=x onerror=alert(1)>` + strings.Repeat("y", 10000)
	if status, words := post(t, web, host.url, with(child(1, `,"text":"`+text+`","action":"`+text+`","state":"fail"`))); status != 204 {
		t.Fatalf("%d %s", status, words)
	}
	waitFor(t, 20*time.Second, func() bool { return len(host.Node().Children) == 2 })
	if n := host.Node(); n.Children[0].Name != "db.shop.vm1" || n.Children[0].State.String() != "pass" {
		t.Errorf("the other container: %+v", n.Children[0])
	}
	check := host.Node().Children[1].Children[0]
	for _, got := range []string{check.Text, check.Action} {
		if !strings.HasPrefix(got, "see https://evil/ <img") || len(got) > 4<<10 || strings.ContainsAny(got, "\x1b\u202e\u2066") {
			t.Errorf("%d bytes: %.80q", len(got), got)
		}
	}
}
