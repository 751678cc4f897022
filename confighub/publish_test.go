// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/proctest"
)

// keygen makes a key with OpenSSH's own program and returns its file and the public half.
func keygen(t testing.TB, passphrase string) (string, ed25519.PublicKey) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sign.key")
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	line, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	public, err := bundle.ParsePublicKey(string(line))
	if err != nil {
		t.Fatal(err)
	}
	return file, public
}

// putFiles writes files below a directory.
func putFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// published reads what a client of a static server gets, and fails unless it is whole and signed.
func published(t testing.TB, root, name string, key ed25519.PublicKey) bundle.Pointer {
	t.Helper()
	dir := filepath.Join(root, "v1/bundles", name)
	raw, err := os.ReadFile(filepath.Join(dir, "current"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := bundle.ParseEnvelope(raw)
	if err == nil && key != nil {
		err = e.Verify([]ed25519.PublicKey{key})
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p, err := e.Pointer()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "blobs", strings.Replace(p.Digest, ":", "/", 1)))
	if err != nil || bundle.Digest(packed) != p.Digest || int64(len(packed)) != p.Size || p.Identity != name {
		t.Fatalf("%s: the pointer names %+v: %v", name, p, err)
	}
	return p
}

func TestPublishCommand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	putFiles(t, dir, map[string]string{
		"tree/hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web", "db"]}}}`, "tree/services/web/data/a.json": `{"v": 1}`,
		"broken/hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`, "broken/services/web/data/a.json": `{"v": }`, "empty/defaults/data/a.json": `{}`,
		"passphrase": "open sesame\n", "other": "open barley\n", "nothing": "\n",
	})
	plain, public := keygen(t, "")
	locked, lockedPublic := keygen(t, "open sesame")
	open := filepath.Join(dir, "open.key")
	raw, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", "tree", "-c", "user.name=me", "-c", "user.email=me@here"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	git("clone", "-q", "--bare", ".", "../tree.git")
	commit := git("rev-parse", "HEAD")
	trusted := func(keys ...ed25519.PublicKey) string {
		var list []string
		for _, key := range keys {
			list = append(list, `"`+bundle.FormatPublicKey(key)+`"`)
		}
		return `settings of the containers: {"config":{"trusted_keys":[` + strings.Join(list, ",") + "]}}\n"
	}
	tests := []struct {
		name, args string
		out        string // a regular expression of all that is printed
		err        string
	}{
		{"no key", "--root tree --out out", "", "--sign KEY is missing (ssh-keygen -t ed25519 makes one); --unsigned publishes without"},
		{"both", "--root tree --out out --unsigned --sign " + plain, "", "--sign and --unsigned exclude each other"},
		{"an argument", "--root tree --out out --unsigned web", "", `publish takes no arguments, got "web"`},
		{"within the tree", "--root tree --out tree/out --unsigned", "", "--out: tree/out lies in the tree of --root, which would be broken by it"},
		{"nowhere", "--unsigned", "", "--root is missing\n--out is missing"},
		{"expires at once", "--root tree --out out --unsigned --expires 1s", "", "--expires must be between 1m0s and 87600h0m0s, got 1s"},
		{"above all", "--root tree --out out --unsigned --above 9007199254740992", "", "--above must be less than 9007199254740992, got 9007199254740992"},
		{"a broken tree", "--root broken --out out --sign " + plain, "", "services/web/data/a.json:1:"},
		{"an empty tree", "--root empty --out out --sign " + plain, "", "places no container, so that nothing would be left: is it the right directory?"},
		{"no such key", "--root tree --out out --sign none.key", "", "the signing key none.key: open none.key: no such file"},
		{"the public half", "--root tree --out out --sign " + plain + ".pub", "", "is no private key in PEM: make one with ssh-keygen -t ed25519"},
		{"the same key twice", "--root tree --out out --sign " + plain + " --sign " + plain, "", "is the same key once more"},
		{"no passphrase file", "--root tree --out out --passphrase-file none --sign " + locked, "", "its passphrase: open none: no such file"},
		{"an empty passphrase", "--root tree --out out --passphrase-file nothing --sign " + locked, "", "its passphrase: nothing is empty"},
		{"a wrong passphrase", "--root tree --out out --passphrase-file other --sign " + locked, "", "the passphrase does not open the key"},

		{"signed", "--root tree --out out --revision one --sign " + plain, `2 containers: 2 changed, serial \d{13}, revision one\n` + regexp.QuoteMeta(trusted(public)), ""},
		{"again", "--root tree --out out --sign " + plain, `2 containers: none changed\n` + regexp.QuoteMeta(trusted(public)), ""},
		{"with a key that is new", "--root tree --out out --passphrase-file passphrase --sign " + plain + " --sign " + locked,
			`2 containers: none changed; 2 have the same version in a new envelope\n` + regexp.QuoteMeta(trusted(public, lockedPublic)), ""},
		{"with that alone", "--root tree --out out --passphrase-file passphrase --sign " + locked,
			`2 containers: none changed; 2 have the same version in a new envelope\n` + regexp.QuoteMeta(trusted(lockedPublic)), ""},
		{"a key that others can read", "--root tree --out out --expires 720h --sign " + open,
			"warning: the signing key .*open.key can be read by others \\(mode 0644\\): chmod 600 .*\n2 containers: none changed; 2 have .*\n.*\n", ""},
		{"a commit", "--root tree.git --ref main --out git.root --above 41 --sign " + plain, `2 containers: 2 changed, serial 42, revision ` + commit + `\n` + regexp.QuoteMeta(trusted(public)), ""},
		{"unsigned", "--root tree --out other.root --unsigned", `2 containers: 2 changed, .*\nunsigned: whoever can write these files decides what the containers get\n`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := command(publishCommand(), strings.Fields(tt.args)...)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || out != "" {
					t.Errorf("error %v does not say %q; printed %q", err, tt.err, out)
				}
				return
			}
			if err != nil || !regexp.MustCompile("^"+tt.out+"$").MatchString(out) {
				t.Errorf("printed %q, want %q: %v", out, tt.out, err)
			}
		})
	}
	before := published(t, "out", "web.shop.vm1", public)
	if out, err := command(publishCommand(), "--root", "broken", "--out", "out", "--sign", plain); err == nil || published(t, "out", "db.shop.vm1", public).Serial != before.Serial ||
		published(t, "out", "web.shop.vm1", public) != before {
		t.Errorf("a broken tree changes something: %v: %s", err, out)
	}
	if p := before; p.Revision != "one" || time.Until(p.Expires) < 719*time.Hour {
		t.Errorf("pointer %+v", p)
	}
	published(t, "other.root", "db.shop.vm1", nil)
	// One that leaves the tree leaves the docroot.
	putFiles(t, dir, map[string]string{"tree/hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`})
	if out, err := command(publishCommand(), "--root", "tree", "--out", "out", "--expires", "720h", "--sign", plain); err != nil ||
		!strings.HasPrefix(out, "1 container: none changed; 1 are no longer placed and removed\n") {
		t.Errorf("printed %q: %v", out, err)
	}
}

// An encrypted key without a passphrase file is asked for at the terminal, which shows nothing of the answer.
func TestPassphraseAtTheTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	putFiles(t, dir, map[string]string{"tree/hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`})
	file, public := keygen(t, "open sesame")
	args := []string{"publish", "--root", filepath.Join(dir, "tree"), "--out", filepath.Join(dir, "out"), "--sign", file}

	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "confighub"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "is encrypted and wants its passphrase: there is no terminal to ask at, so give --passphrase-file FILE") {
		t.Errorf("without a terminal: %v: %s", err, out)
	}

	master, slave := proctest.Terminal(t)
	cmd = exec.CommandContext(t.Context(), filepath.Join(dir, "confighub"), args...)
	stdout := &buffer{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, stdout, stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	screen := &buffer{}
	go func() {
		for chunk := make([]byte, 256); ; {
			n, err := master.Read(chunk)
			screen.Write(chunk[:n])
			if err != nil {
				return
			}
		}
	}()
	waitFor(t, 20*time.Second, "the question", func() bool { return strings.Contains(screen.String(), "passphrase of "+file+": ") }, screen.String)
	if _, err := master.WriteString("open sesame\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stdout)
	}
	if strings.Contains(screen.String(), "sesame") {
		t.Errorf("the terminal shows %q", screen)
	}
	published(t, filepath.Join(dir, "out"), "web.shop.vm1", public)
}

// Whenever a publication is killed, what lies there can be served: each pointer is signed and names a bundle that is there.
func TestPublishKilled(t *testing.T) {
	t.Parallel()
	const services, kills = 24, 20
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	key, public := keygen(t, "")
	root := filepath.Join(dir, "out")
	var names, list []string
	for n := range services {
		list = append(list, fmt.Sprintf(`"s%d"`, n))
		names = append(names, fmt.Sprintf("s%d.shop.vm1", n))
	}
	putFiles(t, dir, map[string]string{"tree/hosts/vm1/host.json": `{"stacks": {"shop": {"services": [` + strings.Join(list, ",") + `]}}}`})
	version := 0
	// publish runs a publication of something new and kills it after so many steps in the files; -1: not at all. It returns
	// how many were seen and whether it was killed.
	publish := func(after int) (steps int, killed bool) {
		t.Helper()
		version++
		putFiles(t, dir, map[string]string{"tree/defaults/data/v.json": fmt.Sprintf(`{"v": %d}`, version)})
		watcher := watchAll(t, root)
		defer watcher.Close()
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "confighub"), "publish", "--root", filepath.Join(dir, "tree"), "--out", root, "--sign", key)
		out := &buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		for {
			select {
			case <-watcher.Events:
				if steps++; steps == after {
					cmd.Process.Kill()
				}
			case err := <-done:
				killed = cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
				if err != nil && !killed {
					t.Fatalf("%v: %s", err, out)
				}
				return steps, killed
			}
		}
	}
	publish(-1) // makes the directories
	steps, _ := publish(-1)
	serials := map[string]uint64{}
	count, mixed := 0, 0
	for end := time.Now().Add(2 * time.Minute); count < kills; {
		if time.Now().After(end) {
			t.Fatalf("only %d of %d publications could be killed on their way", count, kills)
		}
		if _, killed := publish(1 + rand.N(steps)); killed {
			count++
		}
		digests := map[string]bool{}
		for _, name := range names {
			p := published(t, root, name, public)
			if p.Serial < serials[name] {
				t.Errorf("%s: serial %d after %d", name, p.Serial, serials[name])
			}
			serials[name], digests[p.Digest] = p.Serial, true
		}
		if len(digests) > 1 {
			mixed++
		}
	}
	t.Logf("%d killed, %d times the containers had different versions then", count, mixed)
	publish(-1)
	for _, name := range names {
		if p := published(t, root, name, public); p.Serial <= serials[name] || p.Serial != published(t, root, names[0], public).Serial {
			t.Errorf("%s: version %s after all", name, p.Version())
		}
		if blobs, err := os.ReadDir(filepath.Join(root, "v1/bundles", name, "blobs/sha256")); err != nil || len(blobs) != 2 {
			t.Errorf("%s: %d bundles stay, %v", name, len(blobs), err)
		}
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// watchAll tells of each change in a directory and those below it.
func watchAll(t *testing.T, dir string) *fsnotify.Watcher {
	t.Helper()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = watcher.Add(path)
		}
		if path == dir && os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return watcher
}
