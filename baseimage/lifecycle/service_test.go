// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// page is the service's configuration file.
type page struct {
	// Page is what it answers to every request.
	Page string `json:"page"`
	// Die makes it exit with this code a moment after it read the file; 0: live.
	Die int `json:"die"`
}

// serviceMain is this test binary as a service: it answers HTTP with a word from its configuration file, reads the file
// again at HUP, writes what it is asked to (POST /say/stdout, /say/stderr) and ends at TERM after a while with a code of its own.
func serviceMain(args []string) int {
	flags := flag.NewFlagSet("service", flag.ExitOnError)
	listen := flags.String("listen", "", "address to answer on")
	config := flags.String("config", "", "configuration file")
	code := flags.Int("code", 0, "exit code after TERM")
	slow := flags.Duration("slow", 0, "from TERM to the exit")
	_ = flags.Parse(args)

	var mu sync.Mutex
	var now page
	read := func() bool {
		raw, err := os.ReadFile(*config)
		var next page
		if err == nil {
			err = json.Unmarshal(raw, &next)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "service: reading the configuration:", err)
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		now = next
		fmt.Println("service: configuration read:", next.Page)
		return true
	}
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	if *config != "" && !read() {
		return 3
	}
	if now.Die != 0 {
		fmt.Fprintln(os.Stderr, "service: cannot live with", now.Page)
		return now.Die
	}
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, now.Page)
	})
	http.HandleFunc("POST /say/{stream}", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		out := map[string]*os.File{"stdout": os.Stdout, "stderr": os.Stderr}[r.PathValue("stream")]
		fmt.Fprintln(out, string(text))
	})
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	for {
		select {
		case err := <-failed:
			fmt.Fprintln(os.Stderr, "service:", err)
			return 4
		case s := <-signals:
			if s == syscall.SIGHUP {
				read()
				continue
			}
			fmt.Println("service: stopping")
			time.Sleep(*slow)
			fmt.Println("service: last line")
			return *code
		}
	}
}
