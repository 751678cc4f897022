// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

//go:embed *.go
var sources embed.FS

// points lists the named points of the sources, and makes sure that every one is passed somewhere.
func points(t *testing.T) []string {
	t.Helper()
	entries, err := sources.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	declared, passed := map[string]string{}, map[string]bool{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		text, err := sources.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*(\w+)\s+point = "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			declared[m[1]] = m[2]
		}
		for _, m := range regexp.MustCompile(`opts\.fault\(([^)]*)\)`).FindAllStringSubmatch(string(text), -1) {
			passed[m[1]] = true
		}
	}
	var names []string
	for constant, name := range declared {
		names = append(names, name)
		if !passed[constant] {
			t.Errorf("no code passes %s", constant)
		}
	}
	for constant := range passed {
		if declared[constant] == "" {
			t.Errorf("fault(%s) passes a point that is not declared", constant)
		}
	}
	slices.Sort(names)
	return names
}

// killing is a world in which one victim after another is killed.
type killing struct {
	*world
	base   string
	random *rand.Rand
	kills  int
}

func newKilling(t *testing.T, base string, seed uint64) *killing {
	k := &killing{world: worldIn(t, base), base: base, random: rand.New(rand.NewPCG(seed, 3))}
	k.shm = newMemory(t)
	for _, dir := range []string{k.state, k.run, k.etc, k.path("app")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k.write("image.conf", "image", 0o640)
	k.write("image.key", "image s3cr3t", 0o600)
	if os.Geteuid() == 0 {
		err := os.Chown(k.path("app"), 4711, 4712)
		for _, name := range []string{"mounted.conf", "mounted.key"} {
			k.write(name, "", 0o644)
			mode := os.FileMode(0o644)
			err = errors.Join(err, os.WriteFile(filepath.Join(base, "outside-"+name), []byte("outside"), mode), os.Chmod(filepath.Join(base, "outside-"+name), mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctl := &service{base: base, run: k.run, conf: k.path("a.conf")}
	ctl.end()
	// The first start of the container: nothing is there, and the first generation comes.
	v := &victim{world: k.world, base: base, root: os.Geteuid() == 0, ctl: ctl}
	return k.begin(v)
}

func (k *killing) begin(v *victim) *killing {
	for _, name := range []string{"good", "tried"} {
		if err := v.setNumber(name, 1); err != nil {
			k.t.Fatal(err)
		}
	}
	return k
}

// kill runs a victim and kills it: at a point, or, if that is "", at some time. With none it is left to end.
func (k *killing) kill(t *testing.T, point string, none bool) {
	t.Helper()
	start := "same"
	if k.kills == 0 || k.random.IntN(4) == 0 {
		start = "container"
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=victim", childBase+"="+k.base, childPoint+"="+point, childShm+"="+k.shm, childStart+"="+start)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := k.await(cmd, out, point == "" && !none)
	err = cmd.Wait()
	exit, _ := errors.AsType[*exec.ExitError](err)
	wasKilled := exit != nil && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	k.kills++
	switch {
	case said != "" || stderr.Len() > 0:
		t.Fatalf("kill %d, at %q, started with the %s: %s%s", k.kills, point, start, said, stderr)
	case none && err != nil:
		t.Fatalf("the last one ended with %v", err)
	case !none && !wasKilled:
		t.Fatalf("kill %d: %q was never reached: %v", k.kills, point, err)
	}
}

// await reads what a victim says to its end; at random it kills it meanwhile.
func (k *killing) await(cmd *exec.Cmd, out io.Reader, random bool) string {
	var said []string
	mark := []string{"started", "ready"}[k.random.IntN(2)]
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if random && lines.Text() == mark {
			delay := time.Duration(k.random.IntN(int(200 * time.Millisecond)))
			timer := time.AfterFunc(delay, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
		if text := lines.Text(); text != "started" && text != "ready" {
			said = append(said, text)
		}
	}
	return strings.Join(said, "\n")
}

// Whatever the moment of a kill: the next start ends with one whole generation in place, which the service was told
// of, and with nothing left over; and the next generation goes in.
func TestKill(t *testing.T) {
	all := points(t)
	worlds, kills := 4, 72
	if os.Getenv("HUB_SOAK") == "1" {
		kills = 1000
	}
	if os.Geteuid() != 0 { // the same again, without owners and mounts
		all = slices.DeleteFunc(all, func(name string) bool { return name == string(pointTruncated) })
		worlds, kills = 2, len(all)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	// Points that a generation passes for each of its targets.
	often := []string{string(pointStagedOne), string(pointExchanged), string(pointSwappedOne), string(pointReturned)}
	// Each point once, most of them twice, and the rest at random.
	todo := slices.Clone(all)
	for i := 0; len(todo) < kills; i++ {
		if i < len(all) {
			number := 2
			if slices.Contains(often, all[i]) {
				number += random.IntN(9)
			}
			todo = append(todo, fmt.Sprintf("%s#%d", all[i], number))
		} else {
			todo = append(todo, "")
		}
	}
	random.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for i, specs := range slices.Collect(slices.Chunk(todo, (len(todo)+worlds-1)/worlds)) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			if i%2 == 1 { // the run directory is a tmpfs
				if err := os.Symlink(newMemory(t), filepath.Join(base, "run")); err != nil {
					t.Fatal(err)
				}
			}
			k := newKilling(t, base, seed+uint64(i))
			for _, spec := range specs {
				k.kill(t, spec, false)
			}
			k.kill(t, "", true)
		})
	}
}
