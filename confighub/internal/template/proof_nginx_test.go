// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/template"
)

// Each place is a location that answers with what it has.
var nginxPlaces = []place{
	{"location = /{{i}} { return 200 {{v}}; }", same},
	{"location = /{{i}} { return 200 {{v}} ; }", same},
	{"location = /{{i}} {\n  return 200\n    {{v}};\n}", same},
	{"location = /{{i}} { return 200 \"{{v}}\"; }", same},
	{"location = /{{i}} { return 200 \"x{{v}}y\"; }", beside("x", "y")},
	{"location = /{{i}} { return 200 '{{v}}'; }", same},
	{"location = /{{i}} { return 200 'x\\'{{v}}\"y'; }", beside("x'", `"y`)},
	{"location = /{{i}} { return 200 x{{v}}; }", beside("x", "")},
	{"location = /{{i}} { return 200 x\"{{v}}; }", beside(`x"`, "")},
	{"location = /{{i}} { return 200 {{v}}/y; }", beside("", "/y")},
	{"location = /{{i}} { return 200 {{v}}{{v}}y; }", func(v string) any { return v + v + "y" }},
	{"location = /{{i}} { # {{v}}\n return 200 x; # {{v}}\n}", func(string) any { return "x" }},
	{"location = /{{i}} { return 200 \"${dollar}{{v}}\"; }", beside("$", "")},
	{"location = /{{i}} { set $a x; return 200 \"${a}{{v}}\"; }", beside("x", "")},
	{"location = /{{i}} { return 200 \"$a{{v}}\"; }", nil},
	{"location = /{{i}} { return 200 ${{v}}; }", nil},
	{"location = /{{i}} { return 200 \"${a{{v}}}\"; }", nil},
	{"location = /{{i}} { return 200 \"a\"{{v}}; }", nil},
	{"location = /{{i}} { return 200 \\{{v}}; }", nil},
}

// nginxHead declares the way to a dollar that the error of one names.
const nginxHead = `daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 32; }
http {
	access_log off; default_type text/plain; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
	keepalive_requests 1000000; variables_hash_max_size 4096; types_hash_max_size 4096;
	geo $dollar { default "$"; }
	server { listen unix:nginx.sock;
`

// TestNginx checks the values of all places with one nginx: nginx -t, and what it then serves.
func TestNginx(t *testing.T) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program = "/usr/sbin/nginx"; !exists(program) {
			if os.Getenv("CI") == "true" {
				t.Fatal("nginx is not installed")
			}
			t.Skip("left out: nginx is not installed")
		}
	}
	config := *bytes.NewBufferString(nginxHead)
	var taken, wanted []string
	tried := 0
	for _, p := range nginxPlaces {
		for _, v := range values() {
			tried++
			out, err := fill(p.template, "nginx", map[string]any{"v": v, "i": fmt.Sprint(len(taken))})
			switch {
			case err == nil && p.want == nil && v != "":
				t.Errorf("%q took %q: %s", p.template, v, out)
			case err == nil && p.want != nil:
				config.Write(append(out, '\n'))
				taken, wanted = append(taken, v), append(wanted, p.want(v).(string))
			}
		}
	}
	config.WriteString("}}\n")
	get := serveNginx(t, program, config.Bytes())
	for i, v := range taken {
		if got, err := get(fmt.Sprintf("/%d", i)); err != nil || got != wanted[i] {
			t.Errorf("%q is served as %q, want %q: %v", v, got, wanted[i], err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("nginx: %d cases in %d places, %d served, %d refused", tried, len(nginxPlaces), len(taken), tried-len(taken))
	typed(t, "nginx", "a {{v}};", map[string]string{"1e3": "1e3", "true": "true", "null": `""`, "[1]": "error"})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// serveNginx checks and runs a configuration, and returns what gets a path from it.
func serveNginx(t *testing.T, program string, config []byte) func(path string) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nginx") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file, socket := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "nginx.sock")
	config = bytes.Replace(config, []byte("unix:nginx.sock"), []byte("unix:"+socket), 1)
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-p", dir, "-e", "stderr", "-c", file}
	if out, err := exec.CommandContext(t.Context(), program, append(args, "-t")...).CombinedOutput(); err != nil {
		t.Fatalf("nginx -t: %v\n%.2000s", err, out)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	get := func(path string) (string, error) {
		response, err := client.Get("http://nginx" + path)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err := get("/"); err == nil {
			return get
		} else if time.Now().After(deadline) {
			t.Fatalf("nginx does not answer: %v\n%.2000s", err, stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// What a dollar's error says works: the variable is served as the character.
func TestNginxDollar(t *testing.T) {
	_, err := fill("return 200 {{v}};", "nginx", map[string]any{"v": "5 $"})
	if err == nil || !strings.Contains(err.Error(), `geo $dollar { default "$"; }`) || !strings.Contains(nginxHead, `geo $dollar { default "$"; }`) {
		t.Errorf("got %v", err)
	}
	find := func(name string) (string, []byte, bool) { return name, []byte("return 200 {{{v}}};"), name == "t" }
	result, err := template.Render(find, "t", map[string]any{"v": "$host"}, template.Options{Format: "nginx"})
	if err != nil || string(result.Output) != "return 200 $host;" {
		t.Errorf("got %q, %v", result.Output, err)
	}
}
