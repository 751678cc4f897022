// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// What stands at a target, or on the way to it, and is no file or directory is refused by name, and not touched,
// opened or waited for; the other targets stay as they are.
func TestWhatIsNoFileIsRefused(t *testing.T) {
	w := newWorld(t)
	outside := t.TempDir()
	w.write("fine", "one", 0o644)
	for _, name := range []string{"x", "deep/er/x"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o755), os.WriteFile(filepath.Join(outside, name), []byte("outside"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", w.path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, to := range map[string]string{"dir": outside, "file": filepath.Join(outside, "x"), "loop": "loop", "dangling": filepath.Join(outside, "new"), "relative": "../" + filepath.Base(w.etc) + "/fine"} {
		if err := os.Symlink(to, w.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(w.path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"dir/x":         w.path("dir") + " is a link, which targets are not reached through: name the real path",
		"dir/deep/er/x": w.path("dir") + " is a link, which targets are not reached through: name the real path",
		"dir/new/x":     w.path("dir") + " is a link, which targets are not reached through: name the real path",
		"file":          w.path("file") + " is a link, which is not followed and not replaced: name the real path",
		"dangling":      w.path("dangling") + " is a link, which is not followed and not replaced: name the real path",
		"relative":      w.path("relative") + " is a link, which is not followed and not replaced: name the real path",
		"loop/x":        w.path("loop") + " is a link, which targets are not reached through: name the real path",
		"fifo":          w.path("fifo") + " is not a regular file: remove it, or name another path",
		"fifo/x":        w.path("fifo") + " is not a directory",
		"socket":        w.path("socket") + " is not a regular file: remove it, or name another path",
		"fine/x":        w.path("fine") + " is not a directory",
	}
	if os.Geteuid() == 0 {
		if err := unix.Mknod(w.path("device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
		tests["device"] = w.path("device") + " is not a regular file: remove it, or name another path"
	}
	before := fmt.Sprint(w.tree(), treeOf(t, outside))
	for name, want := range tests {
		_, err := w.applier().Apply(t.Context(), generation(1, w.file(name, "x"), w.file("a", "x")), true)
		if err == nil || err.Error() != "target "+w.path(name)+": "+want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if after := fmt.Sprint(w.tree(), treeOf(t, outside)); after != before {
		t.Errorf("something was written: before %s, after %s", before, after)
	}
}

// treeOf lists what is below a directory.
func treeOf(t *testing.T, dir string) map[string]string {
	w := &world{t: t, etc: dir}
	return w.tree()
}

// A target that is a hard link to a foreign file is replaced, and that file is not written to.
func TestHardLink(t *testing.T) {
	w := newWorld(t)
	foreign := filepath.Join(filepath.Dir(w.etc), "foreign")
	if err := errors.Join(os.WriteFile(foreign, []byte("foreign"), 0o640), os.Link(foreign, w.path("a"))); err != nil {
		t.Fatal(err)
	}
	a := w.applier()
	for n, text := range []string{"one", "two"} {
		if _, err := a.Apply(t.Context(), generation(uint64(n), w.file("a", text, func(f *render.File) { f.Mode = 0o666 })), true); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(foreign)
	if err := errors.Join(err, holds(foreign, "foreign"), holds(w.path("a"), "two")); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(err, info.Mode())
	}
	if _, err := a.Apply(t.Context(), generation(3), true); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(holds(foreign, "foreign"), holds(w.path("a"), "foreign")); err != nil {
		t.Error(err)
	}
}

// In a directory of another uid root does not write through a hard link that was put where a mount was.
func TestHardLinkInsteadOfAMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory away needs root")
	}
	w := newWorld(t)
	foreign := filepath.Join(filepath.Dir(w.etc), "foreign")
	if err := errors.Join(os.WriteFile(foreign, []byte("foreign"), 0o644), os.Mkdir(w.path("app"), 0o755),
		os.Link(foreign, w.path("app/a")), os.Chown(w.path("app"), 4711, 4712)); err != nil {
		t.Fatal(err)
	}
	d, err := w.applier().disk.open(w.path("app"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	err = d.overwrite("a", []byte("attack"), meta{Exists: true, Mode: 0o666}, func() {})
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v, want permission denied", err)
	}
	if err := holds(foreign, "foreign"); err != nil {
		t.Error(err)
	}
}

// While root applies, the owner of a directory on the way swaps it with a link to elsewhere, again and again. Nothing
// is ever written there, whoever wins.
func TestRaceOnTheParent(t *testing.T) {
	w := newWorld(t)
	w.volatile = true
	outside := filepath.Join(filepath.Dir(w.etc), "outside")
	home := w.path("home")
	for _, dir := range []string{outside, outside + "/conf", home, home + "/app", home + "/app/conf"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(outside+"/conf/a", []byte("outside"), 0o644), os.Symlink(outside, home+"/link")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{home, home + "/app", home + "/app/conf"} {
			if err := os.Chown(name, 4711, 4712); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := treeOf(t, outside)
	stop, swaps := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				swaps <- n
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, home+"/app", unix.AT_FDCWD, home+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	a := w.applier()
	won, refused := 0, 0
	for n := uint64(1); n <= 400; n++ {
		text := fmt.Sprint("generation ", n)
		_, err := a.Apply(t.Context(), generation(n, w.file("home/app/conf/a", text), w.file(fmt.Sprintf("home/app/conf/made-%d/b", n%5), text)), true)
		switch {
		case err == nil:
			won++
		case strings.Contains(err.Error(), "is a link, which targets are not reached through"):
			refused++
		}
		if diff := cmp.Diff(before, treeOf(t, outside)); diff != "" {
			t.Fatalf("after %d: something was written outside: %s", n, diff)
		}
	}
	close(stop)
	t.Logf("%d swaps of the directory; of 400 generations %d went in, %d met the link", <-swaps, won, refused)
	if won == 0 || refused == 0 {
		t.Error("there was no race")
	}
}

// What decides who may do what in a container is never a target, whatever image and bundle say; nor is a path that
// could be read in two ways.
func TestNeverTargets(t *testing.T) {
	w := newWorld(t)
	a := w.applier()
	a.opts.Policy.Targets = []string{"/", "/**", "/etc/hub/**", "/proc/**", "/usr/local/bin/*"}
	a.opts.Policy.Never = []string{w.etc + "/own"}
	for target, want := range map[string]string{
		"/etc/hub/hub.json":            "is never a target: /etc/hub belongs to the container",
		"/etc/hub/hub.d/10-x.json":     "is never a target: /etc/hub belongs to the container",
		"/etc/hub/init.d/x":            "is never a target: /etc/hub belongs to the container",
		"/etc/hub/stop.d/x":            "is never a target: /etc/hub belongs to the container",
		"/etc/hub/bundle/bundle.json":  "is never a target: /etc/hub belongs to the container",
		"/etc/hub":                     "is never a target: /etc/hub belongs to the container",
		"/etc":                         "is never a target: /etc/hub belongs to the container",
		"/var/lib/hub/0/identity/x":    "is never a target: /var/lib/hub belongs to the container",
		"/run/hub/service.env":         "is never a target: /run/hub belongs to the container",
		"/etc/passwd":                  "is never a target: /etc/passwd belongs to the container",
		"/etc/shadow":                  "is never a target: /etc/shadow belongs to the container",
		"/etc/group":                   "is never a target: /etc/group belongs to the container",
		"/etc/ld.so.preload":           "is never a target",
		"/etc/ld.so.conf.d/x.conf":     "is never a target",
		"/usr/local/bin/x":             "is never a target: /usr/local/bin belongs to the container",
		"/usr/local/bin/confighub":     "is never a target: /usr/local/bin belongs to the container",
		"/proc/sys/kernel/core_patter": "is never a target: /proc belongs to the container",
		"/proc/self/root/etc/passwd":   "is never a target: /proc belongs to the container",
		"/sys/fs/cgroup/x":             "is never a target: /sys belongs to the container",
		"/dev/sda":                     "is never a target: /dev belongs to the container",
		"/dev/shm/x":                   "is never a target: /dev belongs to the container",
		w.etc + "/own/x":               "is never a target: " + w.etc + "/own belongs to the container",
		w.etc + "/../etc/x":            "",
		w.etc + "/./x":                 "",
		w.etc + "//x":                  "",
		w.etc + "/x/":                  "",
		"etc/x":                        "",
		"/":                            "",
		"":                             "",
		"/etc/x\x00y":                  "",
		"/etc/x\ny":                    "",
	} {
		g := generation(1, render.File{Path: target, Bytes: []byte("attack"), Mode: 0o644})
		_, err := a.Apply(t.Context(), g, true)
		rejected, ok := errors.AsType[*Rejected](err)
		if !ok || len(rejected.Lines) != 1 || !strings.HasPrefix(rejected.Lines[0], "bundle.json: targets."+target+": ") || !strings.HasSuffix(rejected.Lines[0], want) {
			t.Errorf("%q: got %v, want %q", target, err, want)
		}
	}
	a.opts.Policy.Targets = []string{w.etc + "/conf"}
	_, err := a.Apply(t.Context(), generation(1, w.file("other", "x"), w.file("conf/x", "x")), true)
	if want := "bundle.json: targets." + w.path("other") + ": is not among the targets this image allows (config.targets: " + w.etc + "/conf)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if tree := w.tree(); len(tree) != 0 {
		t.Errorf("written: %v", tree)
	}
}

// A bundle runs what the image names, and nothing else; everything that it may not do is said at once.
func TestActionsOfOthers(t *testing.T) {
	w := newWorld(t)
	ran := filepath.Join(t.TempDir(), "ran")
	w.actions = map[string][]string{"known": {"touch", ran}, "restart": {"touch", ran}}
	own := bundle.Action{Argv: []string{"touch", ran}}
	f := w.file("a", "x", check("known"), reload("unknown"))
	g := w.file("b", "x")
	g.Check, g.Reload = own, own
	generation := generation(1, f, g)
	generation.Output.EnvReloads = []bundle.Action{own}
	_, err := w.applier().Apply(t.Context(), generation, false)
	rejected, ok := errors.AsType[*Rejected](err)
	const allow = "which this image's settings do not allow: name an action of config.actions, or set config.bundle_commands"
	want := []string{
		"bundle.json: targets." + w.path("a") + `: reload: no action "unknown" in this image's settings (config.actions)`,
		"bundle.json: targets." + w.path("b") + ": check: brings a command of its own (touch " + ran + "), " + allow,
		"bundle.json: targets." + w.path("b") + ": reload: brings a command of its own (touch " + ran + "), " + allow,
		"bundle.json: reload of an env target: brings a command of its own (touch " + ran + "), " + allow,
	}
	if !ok || cmp.Diff(want, rejected.Lines) != "" {
		t.Errorf("got %v, want %q", err, want)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("something ran")
	}
	// What is built in is not what a setting makes of it.
	if _, err := w.applier().Apply(t.Context(), generationOf(w.file("a", "x", reload("restart"))), false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a setting replaced what is built in")
	}
	a := w.applier()
	a.opts.Policy.BundleCommands = true
	if _, err := a.Apply(t.Context(), generationOf(w.file("a", "x"), g), false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error("a command that the image allows did not run")
	}
}

// generationOf is any generation of these files.
func generationOf(files ...render.File) Generation { return generation(9, files...) }

func TestPolicy(t *testing.T) {
	p := Policy{Targets: []string{"/etc", "/srv/*/conf", "/opt/**/*.yml"}, Never: []string{"/etc/own"}}
	for target, want := range map[string]bool{
		"/etc/nginx/nginx.conf": true, "/etc/hub/hub.json": false, "/etc/passwd": false, "/etc/ld.so.preload": false, "/etc/ld.so.conf.d/x": false,
		"/etc/hubcap": true, "/etc/own": false, "/etc/own/x": false, "/etc/passwd-x": true, "/srv/a/conf": true, "/srv/a/conf/b": true, "/srv/a/b": false,
		"/opt/a/b/c.yml": true, "/opt/a/b/c.txt": false, "/usr/local/bin/x": false, "/proc/sys/x": false, "/var/lib/x": false, "/etc": false,
		"/etc/a;cd $HOME;touch x;.conf": false,
	} {
		if got := p.allows(target); (got == "") != want {
			t.Errorf("%s: %q, want allowed %v", target, got, want)
		}
	}
}
