// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

// identity is what confighub says of itself in /run/hub/identity.json.
type identity struct {
	ID     string `json:"id"`
	Serial string `json:"serial"`
}

func identityOf(t *testing.T, c dockertest.Container) (id identity) {
	t.Helper()
	dockertest.WaitFor(t, 30*time.Second, "an identity", func() bool {
		out, code := c.Exec(t, "cat", "/run/hub/identity.json")
		return code == 0 && json.Unmarshal([]byte(out), &id) == nil && id.ID != "" && id.Serial != ""
	})
	return id
}

// initState is the part of init.json that the proofs look at.
type initState struct {
	Service struct {
		State string `json:"state"`
		PID   int    `json:"pid"`
	} `json:"service"`
	Hubs map[string]struct {
		State    string `json:"state"`
		PID      int    `json:"pid"`
		Restarts int    `json:"restarts"`
	} `json:"hubs"`
}

func stateOf(t *testing.T, c dockertest.Container) (state initState) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.Shell(t, "cat /run/hub/init.json")), &state); err != nil {
		t.Fatal(err)
	}
	return state
}

func waitHealthy(t *testing.T, c dockertest.Container) {
	t.Helper()
	dockertest.WaitFor(t, 60*time.Second, "healthy", func() bool { return c.Inspect(t, "{{.State.Health.Status}}") == "healthy" })
}

// arrived reports whether an event with the text is kept by the genesis machine.
func arrived(t *testing.T, text string) bool {
	t.Helper()
	_, code := member(t, genesis, "log").Exec(t, "grep", "-rqF", "--", text, "/events")
	return code == 0
}

// load requests url without pause until stop is called, which returns how many requests were made and the failures.
func load(url string) (stop func() (int64, []string)) {
	var made atomic.Int64
	var failures []string
	done, ended := make(chan struct{}), make(chan struct{})
	client := &http.Client{Timeout: 5 * time.Second}
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			made.Add(1)
			if err := get(client, url); err != nil {
				failures = append(failures, err.Error())
			}
		}
	}()
	return func() (int64, []string) {
		close(done)
		<-ended
		return made.Load(), failures
	}
}

func get(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// testCrashes kills each hub 20 times, five times in each of four containers, because a hub that crashes again and
// again is restarted ever later.
func testCrashes(t *testing.T) {
	const kills = 5
	targets := map[string]dockertest.Container{pageURL: member(t, shop, "web")}
	// The other three have a bundle of their own and no genesis: what a crash costs must not depend on one.
	bundle := t.TempDir()
	if err := os.WriteFile(bundle+"/bundle.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c := dockertest.Run(t, []string{"--volume", bundle + ":/bundle:ro", "--env", "HUB_CONFIG_SOURCE=dir:/bundle"}, "cloud4/shop-web")
		targets["http://"+c.Inspect(t, "{{.NetworkSettings.IPAddress}}")+"/"] = c
	}
	for url, c := range targets {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			client := &http.Client{Timeout: time.Second}
			dockertest.WaitFor(t, 30*time.Second, url, func() bool { return get(client, url) == nil })
			before := stateOf(t, c)
			stop := load(url)
			for round := range kills {
				killHubs(t, c, round)
			}
			made, failures := stop()
			if len(failures) > 0 || made == 0 {
				t.Errorf("%d of %d requests failed: %v", len(failures), made, failures)
			}
			if after := stateOf(t, c); after.Service != before.Service {
				t.Errorf("the service: before %+v, after %+v", before.Service, after.Service)
			}
			t.Logf("%d kills of each hub, %d requests, none failed", kills, made)
		})
	}
}

// killHubs kills every hub once and waits until all are back.
func killHubs(t *testing.T, c dockertest.Container, round int) {
	t.Helper()
	killed := map[string]int{}
	for name, hub := range stateOf(t, c).Hubs {
		if hub.State != "running" {
			t.Fatalf("round %d: %s is %q, there is nothing to kill", round, name, hub.State)
		}
		c.Shell(t, "kill -9 "+strconv.Itoa(hub.PID))
		killed[name] = hub.PID
	}
	if len(killed) != 3 {
		t.Fatalf("round %d: three hubs must run, killed were %v", round, killed)
	}
	dockertest.WaitFor(t, time.Minute, fmt.Sprintf("round %d: the hubs are back", round), func() bool {
		hubs := stateOf(t, c).Hubs
		for name, pid := range killed {
			if hubs[name].State != "running" || hubs[name].PID == pid {
				return false
			}
		}
		return true
	})
}

// testGenesisAway stops the whole genesis machine: the service goes on, events wait, and all of it catches up.
func testGenesisAway(t *testing.T) {
	web := member(t, shop, "web")
	compose(t, genesis, "examples/genesis/compose.yaml", "stop -t 5 2>&1")
	before := stateOf(t, web)
	stop := load(pageURL)
	marks := []string{}
	for i := range 20 {
		mark := fmt.Sprintf("/away-%d-%d", time.Now().UnixNano(), i)
		marks = append(marks, mark)
		resp, err := http.Get(strings.TrimSuffix(pageURL, "/") + mark) // a 404, which is a line of the access log
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	made, failures := stop()
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failures), made, failures)
	}
	dockertest.Docker(t, "restart", string(web)) // and comes up again without one, from last-good
	client := &http.Client{Timeout: time.Second}
	dockertest.WaitFor(t, 30*time.Second, "the page after a start without genesis", func() bool { return get(client, pageURL) == nil })
	if after := stateOf(t, web); after.Service.State != "running" || before.Service.State != "running" {
		t.Errorf("the service: before %+v, after %+v", before.Service, after.Service)
	}
	// machine first: the others live in its network.
	compose(t, genesis, "examples/genesis/compose.yaml", "up -d --no-build 2>&1")
	for _, mark := range marks {
		dockertest.WaitFor(t, 90*time.Second, mark+" arrives", func() bool { return arrived(t, mark) })
	}
}

func testDatabaseStops(t *testing.T) {
	db := member(t, shop, "db")
	waitHealthy(t, db)
	db.Shell(t, "redis-cli set kept yes")
	if code, took := db.Stop(t); code != 0 || took > 2*time.Second {
		t.Errorf("docker stop: want redis' own 0 within 2 s, got %d after %v", code, took)
	}
	dockertest.Docker(t, "start", string(db))
	waitHealthy(t, db)
	if got := db.Shell(t, "redis-cli get kept"); got != "yes" {
		t.Errorf("redis kept %q", got)
	}
}

func testRecreate(t *testing.T) {
	before := identityOf(t, member(t, shop, "web"))
	compose(t, shop, "examples/shop/compose.yaml", "up -d --no-build --force-recreate web 2>&1")
	web := member(t, shop, "web")
	if after := identityOf(t, web); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
	waitHealthy(t, web)
}

// testScale starts two replicas on one volume: two slots, two identities, two lines of one token file.
func testScale(t *testing.T) {
	const project, file = "cloud4-test-scale", "examples/testdata/scale/compose.yaml"
	run(t, "umask 077; bin/confighub token --key .demo/ca/secrets/enrol.jwk --ca-url https://genesis.internal:9000 "+
		"--fingerprint $(<.demo/ca/fingerprint) --host vm1 --stack scale --service replica --replicas 2 >.demo/tokens/replica.scale.vm1")
	t.Cleanup(func() { compose(t, project, file, "down --volumes --timeout 5 2>&1") })
	compose(t, project, file, "up -d --no-build --scale replica=2 2>&1")
	got := map[string]bool{}
	for _, id := range containers(t, project, "replica") {
		got[identityOf(t, dockertest.Container(id)).ID] = true
	}
	const uri = "spiffe://cloud4.internal/host/vm1/stack/scale/service/replica"
	if !got[uri] || !got[uri+"/1"] || len(got) != 2 {
		t.Errorf("want %s and %s/1, got %v", uri, uri, got)
	}
}

// testOneOff runs a command beside the service: no identity is left for it, which it says, and it runs.
func testOneOff(t *testing.T) {
	out := compose(t, shop, "examples/shop/compose.yaml", "run --rm web sh -c 'echo it runs' 2>&1")
	if !strings.Contains(out, "it runs") || !strings.Contains(out, "without identity") {
		t.Errorf("want the command's output and a word on the missing identity, got:\n%s", out)
	}
}

// testMemory reports the proportional set size of the four programs in the web container.
func testMemory(t *testing.T) {
	web := member(t, shop, "web")
	total := 0
	for line := range strings.Lines(dockertest.Docker(t, "top", string(web), "-eo", "pid,comm")) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != "hubinit" && fields[1] != "confighub" && fields[1] != "healthhub" && fields[1] != "loghub" {
			continue
		}
		kilobytes := pss(t, fields[0])
		total += kilobytes
		t.Logf("%-10s %5.1f MB", fields[1], float64(kilobytes)/1000)
	}
	t.Logf("%-10s %5.1f MB", "all four", float64(total)/1000)
	if total == 0 {
		t.Error("none of the programs found")
	}
}

// pss reads the kilobytes of a process on this machine.
func pss(t *testing.T, pid string) int {
	t.Helper()
	file, err := os.Open("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "Pss:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %s: no Pss line", pid)
	return 0
}
