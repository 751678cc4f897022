// SPDX-License-Identifier: AGPL-3.0-or-later

package collect_test

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// Two bytes of JSON must not become two hundred of memory, a few million times.
func TestManyEmptyNodes(t *testing.T) {
	ca := identitytest.New(t)
	fleet := serve(t, ca.Files(t, id(t, "/genesis/health")), "127.0.0.1:0", "")
	for name, element := range map[string]string{"objects": "{}", "null": "null", "numbers": "1"} {
		t.Run(name, func(t *testing.T) {
			nodes := strings.Repeat(element+",", (8<<20-1000)/(len(element)+1))
			report := `{"schema":1,"instance":"abcdefgh","seq":1,"valid_for":90,"node":{"kind":"host","name":"vm1","state":"pass","children":[` + nodes + element + `]}}`
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			status, words := post(t, ca.Files(t, id(t, "/host/vm1")), fleet.url, report)
			runtime.ReadMemStats(&after)
			if status != http.StatusBadRequest || !strings.Contains(words, "values") {
				t.Errorf("%d %s", status, words)
			}
			if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 200 {
				t.Errorf("a report of 8 MiB took %d MiB", made)
			}
		})
	}
}

// Who may not report at all is refused before its report is read, and who may has few reports under way.
func TestNotReadFirst(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	send := func(uri string, ends chan<- *io.PipeWriter) int {
		client := &http.Client{Transport: mtls.Transport(ca.Files(t, id(t, uri)), nil)}
		defer client.CloseIdleConnections()
		unending, end := io.Pipe()
		defer end.Close()
		ends <- end
		resp, err := client.Post(host.url+report.Path, "application/json", unending)
		if err != nil {
			t.Error(err)
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	ends := make(chan *io.PipeWriter, 20)
	for _, uri := range []string{"/operator/desk", "/host/vm1", "/host/vm2/stack/shop/service/web"} {
		if status := send(uri, ends); status != http.StatusForbidden {
			t.Errorf("%s: %d", uri, status)
		}
		<-ends
	}
	statuses := make(chan int, 10)
	for range 10 {
		go func() { statuses <- send("/host/vm1/stack/shop/service/web", ends) }()
	}
	for range 6 {
		if status := <-statuses; status != http.StatusTooManyRequests {
			t.Errorf("a report too many: %d", status)
		}
	}
	for range 10 {
		(<-ends).Close()
	}
	for range 4 {
		if status := <-statuses; status != http.StatusBadRequest { // it ended before it began
			t.Errorf("a report that never came: %d", status)
		}
	}
	if status, words := post(t, ca.Files(t, id(t, "/host/vm1/stack/shop/service/web")), host.url, body("web.shop.vm1", 1)); status != http.StatusNoContent {
		t.Errorf("afterwards: %d %s", status, words)
	}
}
