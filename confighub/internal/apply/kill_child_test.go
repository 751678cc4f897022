// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

// victim is the child that applies one generation after another until it is killed. Everything it knows is in files, as
// the next one has to go on from them.
type victim struct {
	*world
	base string
	root bool
	a    *Applier
	ctl  *service
}

// Generations that do not work, each in its own way. The numbers are those modulo eight.
const (
	refused    = 3 // the reload command fails
	unanswered = 5 // hubinit does not answer the first signal
	muted      = 6 // hubinit does not answer the first restart, which is that of the way back to it
	deadly     = 7 // the service dies of it
)

// victimMain recovers from the last kill, says "ready", and applies on. A line on stdout is something that is wrong.
func victimMain(base string) int {
	fmt.Println("started")
	v := &victim{world: worldIn(fatal{}, base), base: base, root: os.Geteuid() == 0}
	v.shm = os.Getenv(childShm)
	v.ctl = &service{base: base, run: v.run, conf: v.path("a.conf")}
	if err := v.mount(); err != nil {
		fmt.Println("mounting:", err)
		return 1
	}
	v.fault = at(os.Getenv(childPoint), die)
	// One process, without children that could outlive it.
	take := `first=; while read -r line || test -n "$line"; do test "$line" = bad && exit 1; first=${first:-$line}; done <"$0"; echo "$first" >>"$1"`
	v.a = New(Options{
		Dir: v.state, RunDir: v.run, shm: v.shm, Control: v.ctl, fault: v.fault, volatile: true, Log: v.log, Settle: time.Millisecond,
		Policy: Policy{Targets: []string{v.etc}, Actions: map[string][]string{
			"take":  {"sh", "-c", take, v.path("a.conf"), v.took("take")},
			"whole": {"test", "-s", "{{root}}" + v.path("secret.key")},
		}},
	})
	if err := v.comeBack(os.Getenv(childStart) == "container"); err != nil {
		fmt.Println("coming back:", err)
		return 1
	}
	fmt.Println("ready")
	for range 48 {
		if err := v.step(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// mount puts the mounted targets in place, in the mount namespace that root has for it.
func (v *victim) mount() error {
	if !v.root {
		return nil
	}
	errs := []error{syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")}
	for _, name := range []string{"mounted.conf", "mounted.key"} {
		errs = append(errs, syscall.Mount(filepath.Join(v.base, "outside-"+name), v.path(name), "", syscall.MS_BIND, ""))
	}
	return errors.Join(errs...)
}

// number reads a number that outlives a kill; 0 when there is none yet.
func (v *victim) number(name string) uint64 {
	raw, _ := os.ReadFile(filepath.Join(v.base, name))
	n, _ := strconv.ParseUint(string(raw), 10, 64)
	return n
}

func (v *victim) setNumber(name string, n uint64) error {
	next := filepath.Join(v.base, name+".next")
	return errors.Join(os.WriteFile(next, fmt.Append(nil, n), 0o600), os.Rename(next, filepath.Join(v.base, name)))
}

// generation is the n-th: every target differs from the one before, in bytes, mode, owner or being there.
func (v *victim) generation(n uint64) Generation {
	text := fmt.Sprintf("gen %d\n", n)
	trouble := ""
	switch {
	case n%8 == deadly:
		trouble = "deadly"
	case broken(n):
		trouble = "bad"
	}
	owned := func(even, odd string) func(*render.File) {
		return func(f *render.File) {
			if f.Owner = odd; n%2 == 0 {
				f.Owner = even
			}
			if !v.root {
				f.Owner = ""
			}
		}
	}
	mode := func(even, odd fs.FileMode) func(*render.File) {
		return func(f *render.File) {
			if f.Mode = odd; n%2 == 0 {
				f.Mode = even
			}
		}
	}
	secret := func(f *render.File) { f.Secret = true }
	tell := reload("take")
	if n%5 == 0 {
		tell = reload("restart")
	}
	files := []render.File{
		v.file("a.conf", text+trouble, tell, mode(0o644, 0o640)),
		v.file("b/b.yml", text, reload("take"), owned("4711:4712", "12:13")),
		v.file("secret.key", text+"s3cr3t", reload("signal:HUP"), secret, mode(0o600, 0o640), check("whole")),
		v.file(fmt.Sprintf("made-%d/by/us", n), text),
		v.file("mounted.conf", text+strings.Repeat("x", int(n%7)*1000)),
		v.file("mounted.key", text+strings.Repeat("s3cr3t ", int(n%7)*100), secret),
		v.file("app/of-another", text),
		// What it was before does not outlive the container, so that it cannot leave as image.conf does.
		v.file("image.key", text+"s3cr3t", secret, mode(0o600, 0o600)),
	}
	if n%2 == 0 {
		files = append(files, v.file("image.conf", text))
	}
	g := generation(n, files...)
	g.Output.Env = []string{fmt.Sprintf("GEN=%d", n), "PASSWORD=s3cr3t"}
	return g
}

// broken generations are taken back. A restart asks no command whether it refuses.
func broken(n uint64) bool { return n%8 == deadly || n%8 == refused && n%5 != 0 }

// comeBack does what confighub does at its start.
func (v *victim) comeBack(container bool) error {
	if container {
		v.ctl.end()
		entries, err := os.ReadDir(v.run)
		for _, e := range entries {
			if e.Name() != initctl.StateFile {
				err = errors.Join(err, os.RemoveAll(filepath.Join(v.run, e.Name())))
			}
		}
		memory, _ := filepath.Glob(filepath.Join(v.shm, "*"))
		for _, name := range memory {
			err = errors.Join(err, os.RemoveAll(name))
		}
		if err != nil {
			return err
		}
	}
	found, err := v.a.Recover()
	if err != nil {
		return err
	}
	waiting := v.ctl.state().Service.State == initctl.ServiceWaiting
	if found.Lines != nil && !waiting { // with the container the copies of secrets went

		return fmt.Errorf("not put back: %q", found.Lines)
	}
	if found.Owed {
		err = v.a.Resume(context.Background())
		if _, ok := errors.AsType[*RolledBack](err); !ok && err != nil && !errors.Is(err, ErrOwed) {
			return err
		}
	}
	// One that does not work stands after a start of the container until it is found out, which is what trials are for.
	if found.Finished && err == nil && !broken(found.Version.Serial) {
		if err := v.setNumber("good", found.Version.Serial); err != nil {
			return err
		}
	}
	if waiting {
		if _, err := v.a.Apply(context.Background(), v.generation(v.number("good")), true); err != nil {
			return fmt.Errorf("starting from the last good: %w", err)
		}
		v.ctl.take("take")
		v.ctl.take("hup")
		v.ctl.start()
	}
	return v.judge()
}

// step applies the next generation.
func (v *victim) step() error {
	n := v.number("tried") + 1
	if err := v.setNumber("tried", n); err != nil {
		return err
	}
	_, err := v.a.Apply(context.Background(), v.generation(n), false)
	_, back := errors.AsType[*RolledBack](err)
	silent := n%8 == unanswered && n%5 != 0 || n%8 == muted && n%5 == 0 // of which the service is told otherwise
	switch {
	case broken(n):
		if !back {
			return fmt.Errorf("generation %d: got %v, want it rolled back", n, err)
		}
		return v.judge()
	case silent && !errors.Is(err, ErrOwed), !silent && err != nil:
		return fmt.Errorf("generation %d: got %v, want it owed: %v", n, err, silent)
	}
	if err := v.judge(); err != nil {
		return err
	}
	return v.setNumber("good", n)
}

// judge pays what is owed and then says everything that is not as it has to be.
func (v *victim) judge() error {
	for tries := 0; v.a.Owed(); tries++ {
		if err := v.a.RetryOwed(context.Background()); err == nil {
			continue
		} else if _, back := errors.AsType[*RolledBack](err); !back && !errors.Is(err, ErrOwed) || tries == 3 {
			return fmt.Errorf("telling what is owed: %w", err)
		}
	}
	raw, err := os.ReadFile(v.path("a.conf"))
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(raw)), "gen "), 10, 64)
	if err != nil {
		return fmt.Errorf("what is in place is none that works: %q", raw)
	}
	if good, tried := v.number("good"), v.number("tried"); n < good || n > tried {
		return fmt.Errorf("generation %d is in place, was at %d to %d", n, good, tried)
	}
	return errors.Join(v.judgeTargets(n), v.judgePlaces(n), v.judgeService(n))
}

// judgeTargets compares everything below etc with what generation n is.
func (v *victim) judgeTargets(n uint64) error {
	want := map[string]string{"image.conf": "0640 0:0 image"}
	for _, f := range v.generation(n).Output.Files {
		owner := "0:0"
		if f.Owner != "" {
			owner = f.Owner
		} else if strings.HasPrefix(f.Path, v.path("app")) && v.root {
			owner = "4711:4712"
		}
		want[strings.TrimPrefix(f.Path, v.etc+"/")] = fmt.Sprintf("%04o %s %s", f.Mode, owner, f.Bytes)
	}
	got := map[string]string{}
	err := filepath.WalkDir(v.etc, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(name)
		stat := info.Sys().(*syscall.Stat_t)
		owner := fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
		if !v.root {
			owner = "0:0"
		}
		got[strings.TrimPrefix(name, v.etc+"/")] = fmt.Sprintf("%04o %s %s", info.Mode().Perm(), owner, raw)
		return err
	})
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("the targets are not generation %d (- want, + got):\n%s", n, diff)
	}
	env, err := os.ReadFile(filepath.Join(v.run, envFile))
	if want := fmt.Sprintf("GEN=%d\x00PASSWORD=s3cr3t\x00", n); err != nil || string(env) != want {
		return fmt.Errorf("the environment is %q, %v, not that of generation %d", env, err, n)
	}
	if drifts := v.a.Drift(); drifts != nil {
		return fmt.Errorf("the record does not fit generation %d: %+v", n, drifts)
	}
	return nil
}

// judgePlaces looks for what is left over, and for secrets where there may be none.
func (v *victim) judgePlaces(n uint64) error {
	var errs []error
	if left := v.leftovers(); left != nil {
		errs = append(errs, fmt.Errorf("left over: %q", left))
	}
	allowed := []string{targetsFile, tmpfsFile, originalsDir, originalsDir + "/" + sum([]byte("image")), originalsDir + "/" + sum([]byte("outside"))}
	err := filepath.WalkDir(v.state, func(name string, entry fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(v.state, name)
		if err != nil || rel == "." {
			return err
		}
		if !slices.Contains(allowed, rel) {
			errs = append(errs, fmt.Errorf("%s is in the state of generation %d", rel, n))
		}
		if entry.IsDir() {
			return nil
		}
		raw, err := os.ReadFile(name)
		if strings.Contains(string(raw), "s3cr3t") {
			errs = append(errs, fmt.Errorf("%s holds a secret", rel))
		}
		return err
	})
	run, globErr := filepath.Glob(filepath.Join(v.run, "[^.]*"))
	for _, name := range run {
		if base := filepath.Base(name); base != initctl.StateFile && base != envFile && !strings.HasPrefix(base, "confighub-") {
			errs = append(errs, fmt.Errorf("%s is in the run directory", base))
		}
	}
	return errors.Join(append(errs, err, globErr)...)
}

// judgeService makes sure that the service was told of generation n last, in each way it is told of anything.
func (v *victim) judgeService(n uint64) error {
	for _, way := range []string{"take", "hup"} {
		raw, err := os.ReadFile(v.took(way))
		lines := strings.Fields(strings.ReplaceAll(string(raw), "gen ", ""))
		if err != nil || len(lines) == 0 || lines[len(lines)-1] != fmt.Sprint(n) {
			return fmt.Errorf("generation %d is in place, and the service was told by %s of %q (%v)", n, way, lines[max(0, len(lines)-3):], err)
		}
	}
	return nil
}

func (v *victim) took(way string) string { return filepath.Join(v.base, "told-by-"+way) }
