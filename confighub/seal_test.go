// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/proctest"
)

// sealing runs `confighub seal` with a value on stdin, and returns the text of what it printed.
func sealing(t testing.TB, value string, args ...string) (text, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	app := daemon.New("confighub", "", sections, sealCommand())
	app.Reader, app.Writer, app.ErrWriter = strings.NewReader(value), &out, &errs
	err = app.RunContext(t.Context(), append([]string{"confighub", "seal"}, args...))
	if err != nil {
		return out.String(), errs.String(), err
	}
	var sealed map[string]string
	if err := json.Unmarshal(out.Bytes(), &sealed); err != nil || len(sealed) != 1 {
		t.Fatalf("printed %q: %v", &out, err)
	}
	return sealed[seal.Member], errs.String(), nil
}

func newSealKey(t *testing.T) (*seal.Key, string) {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	return key, filepath.Join(dir, seal.KeyFile)
}

func TestSealCommand(t *testing.T) {
	web, _ := newSealKey(t)
	replica, _ := newSealKey(t)
	db, _ := newSealKey(t)
	dir := t.TempDir()
	t.Chdir(dir)
	putFiles(t, dir, map[string]string{
		"recipients": "# pinned\n\nweb.shop.vm1 " + web.Recipient() + " # replica 0\nweb.shop.vm1\t" + replica.Recipient() + "\ndb.shop.vm1 " + db.Recipient() + "\n",
		"value":      "from a file\r\n", "latin1": "\xfcber", "large": strings.Repeat("x", maxValue+1), "empty": "\n",
		"wrong": "web.shop.vm1\nweb.shop.vm1 age1x\nWEB " + web.Recipient() + "\nWEB age1x\n",
	})
	for name, tt := range map[string]struct {
		value, args string
		keys        []*seal.Key
		at, here    string
		want        any
		stderr      string
	}{
		"all replicas": {"s3cret\n", "--recipients recipients --for web.shop.vm1 --key db.password", []*seal.Key{web, replica}, "db.password", "web.shop.vm1", "s3cret",
			"sealed for web.shop.vm1 " + web.Recipient() + " # replica 0\nsealed for web.shop.vm1 " + replica.Recipient() + "\n"},
		"several":    {"a b\n\n", "--recipients recipients --for web.shop.vm1,db.shop.vm1 --key p", []*seal.Key{web, replica, db}, "p", "db.shop.vm1", "a b\n", ""},
		"a file":     {"no", "--recipient " + db.Recipient() + " --for db.shop.vm1 --key p --in value", []*seal.Key{db}, "p", "db.shop.vm1", "from a file", ""},
		"JSON":       {` {"n": 1.50}` + "\n", "--json --recipient " + db.Recipient() + " --key p[0]", []*seal.Key{db}, "p[0]", "", map[string]any{"n": json.Number("1.50")}, "sealed for " + db.Recipient() + "\n"},
		"like JSON":  {`12`, "--recipient " + db.Recipient() + " --key p", []*seal.Key{db}, "p", "web.shop.vm1", "12", ""},
		"characters": {`"<&>` + "\t\x01", "--recipient " + db.Recipient() + " --key p", []*seal.Key{db}, "p", "", "\"<&>\t\x01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, stderr, err := sealing(t, tt.value, strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if tt.stderr != "" && stderr != tt.stderr {
				t.Errorf("said %q", stderr)
			}
			for _, key := range tt.keys {
				got, err := key.Open(text, tt.at, tt.here)
				if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
					t.Errorf("%v: %v %s", key, err, diff)
				}
			}
		})
	}
	for args, want := range map[string]string{
		"--key p":                           "--for is missing: say which container is to open it",
		"--for web.shop.vm1":                "--key: the key must be the dotted path of a value in the data, of at most 512 bytes: db.password",
		"--for web --key p":                 `--for: must be the name of a container, <service>.<stack>.<host>, got "web"`,
		"--for host.vm1 --key p":            `--for: must be the name of a container, <service>.<stack>.<host>, got "host.vm1"`,
		"--recipient age1 --key p":          `--recipient: must be an X25519 recipient of age, age1… with 62 characters, got "age1"`,
		"--for web.shop.vm1 --key p s3cret": "seal takes no argument, and no value from the command line, which others can see: give it on stdin, or with --in FILE",
		"--recipients recipients --recipient " + db.Recipient() + " --key p":                  "--recipient and --recipients exclude each other",
		"--recipients recipients --server https://x --for web.shop.vm1 --key p":               "--server is asked for recipients, and they are given",
		"--recipients recipients --for web.shop.vm1,web.shop.vm2 --for mail.shop.vm1 --key p": "recipients has no recipient of web.shop.vm2\nrecipients has no recipient of mail.shop.vm1",
		"--recipients none --for web.shop.vm1 --key p":                                        "reading the recipients: open none: no such file or directory",
		"--recipients recipients --for web.shop.vm1 --key p --in empty":                       "the value is empty",
		"--recipients recipients --for web.shop.vm1 --key p --in latin1":                      "the value holds bytes that are not UTF-8, which data cannot hold: seal it in base64",
		"--recipients recipients --for web.shop.vm1 --key p --in large":                       "the value is larger than 131072 bytes",
		"--recipients recipients --for web.shop.vm1 --key p --in none":                        "reading the value: open none: no such file or directory",
		"--recipients recipients --for web.shop.vm1 --key p --json --in value":                "the value is no JSON",
		"--identity none --for web.shop.vm1 --key p":                                          "reading the identity in none: no identity yet: give --identity DIR of an operator or a genesis server",
		"--recipients wrong --for web.shop.vm1 --key p": "wrong:1: must be the name of a container and its recipient: web.shop.vm1 age1…\n" +
			"wrong:2: must be an X25519 recipient of age, age1… with 62 characters\n" + `wrong:3: must be the name of a container, <service>.<stack>.<host>, got "WEB"` + "\n" +
			`wrong:4: must be the name of a container, <service>.<stack>.<host>, got "WEB"`,
	} {
		if out, stderr, err := sealing(t, "s3cret", strings.Fields(args)...); err == nil || err.Error() != want || out != "" || strings.Contains(stderr, "sealed for") {
			t.Errorf("%s: %v; printed %q", args, err, out)
		}
	}
}

// At a terminal the value is asked for, twice and unseen.
func TestSealAtTheTerminal(t *testing.T) {
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	key, _ := newSealKey(t)
	for second, want := range map[string]string{"s3cret": `{"$sealed":"age:`, "s3crat": "reading the value: the two are not the same"} {
		master, slave := proctest.Terminal(t)
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "confighub"), "seal", "--recipient", key.Recipient(), "--key", "p")
		printed := &buffer{}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, printed, printed
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
		for _, step := range [][2]string{{"value of p: ", "s3cret\n"}, {"and once more: ", second + "\n"}} {
			waitFor(t, 20*time.Second, "the question", func() bool { return strings.Contains(screen.String(), step[0]) }, screen.String)
			if _, err := master.WriteString(step[1]); err != nil {
				t.Fatal(err)
			}
		}
		err := cmd.Wait()
		if !strings.Contains(printed.String(), want) || (err == nil) != (second == "s3cret") {
			t.Errorf("%v: %s", err, printed)
		}
		if strings.Contains(screen.String(), "s3cr") {
			t.Errorf("the terminal shows %q", screen)
		}
	}
}

func TestFleetRecipients(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web, _ := newSealKey(t)
	replica, _ := newSealKey(t)
	version := bundle.Version{Serial: 1, Digest: "sha256:a"}
	fleet := serve.Fleet{Containers: []serve.Container{
		{Identity: "db.shop.vm1", Desired: version},
		{Identity: "mail.shop.vm1", Desired: version, Instances: []serve.Instance{{Seen: now, Recipient: "age1\x1b[2J"}}},
		{Identity: "old.shop.vm1", Desired: version, Instances: []serve.Instance{{Seen: now, Recipient: web.Recipient()}, {Instance: "1", Seen: now.Add(-time.Hour)}}},
		{Identity: "web.shop.vm1", Desired: version, Instances: []serve.Instance{
			{Seen: now.Add(-2 * time.Second), Recipient: web.Recipient()}, {Instance: "1", Seen: now, Recipient: replica.Recipient()}}},
	}}
	list, err := fleetRecipients(fleet, []string{"web.shop.vm1"}, now)
	if err != nil || len(list) != 2 || list[1].String() != "web.shop.vm1 "+replica.Recipient()+" # replica 1, seen 0s ago" {
		t.Errorf("got %v, %v", list, err)
	}
	_, err = fleetRecipients(fleet, []string{"web.shop.vm1", "old.shop.vm1", "db.shop.vm1", "web.shop.vm2", "mail.shop.vm1"}, now)
	want := "old.shop.vm1 (replica 1, seen 60m ago) has told no recipient: it has not yet had a version, or has no key (confighub status there says why). " +
		"Once that is mended seal again, or name the others with --recipients\n" +
		"db.shop.vm1 was never heard of: start it, and seal then\n" +
		"web.shop.vm2 is not placed: add it to its host's host.json, and start it\n" +
		"mail.shop.vm1 (replica 0, seen 0s ago): the recipient must be an X25519 recipient of age, age1… with 62 characters"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}

	// What is printed of the fleet is a file to seal with.
	var out bytes.Buffer
	if err := printRecipients(&out, fleet, now); err != nil {
		t.Fatal(err)
	}
	printed := `# db.shop.vm1 was never heard of
# mail.shop.vm1 has told no recipient # replica 0, seen 0s ago
old.shop.vm1 ` + web.Recipient() + ` # replica 0, seen 0s ago
# old.shop.vm1 has told no recipient # replica 1, seen 60m ago
web.shop.vm1 ` + web.Recipient() + ` # replica 0, seen 2s ago
web.shop.vm1 ` + replica.Recipient() + ` # replica 1, seen 0s ago
`
	if diff := cmp.Diff(printed, out.String()); diff != "" {
		t.Error(diff)
	}
	file := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	text, _, err := sealing(t, "s3cret", "--recipients", file, "--for", "web.shop.vm1", "--key", "p")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*seal.Key{web, replica} {
		if value, err := key.Open(text, "p", "web.shop.vm1"); err != nil || value != "s3cret" {
			t.Errorf("got %v, %v", value, err)
		}
	}
}

// Away from its container a sealed value is opened by a key that is given, or replaced.
func TestRenderSealed(t *testing.T) {
	key, file := newSealKey(t)
	dir := t.TempDir()
	t.Chdir(dir)
	text, _, err := sealing(t, "s3cret", "--recipient", key.Recipient(), "--for", "web.shop.vm1", "--key", "db.password")
	if err != nil {
		t.Fatal(err)
	}
	data := `{"db": {"password": ` + sealedObject(text) + `}}`
	putFiles(t, dir, map[string]string{
		"data.json": data, "t": "pw={{db.password}}", "bundle/data/a.json": data, "bundle/templates/t": "pw={{db.password}}",
		"bundle/bundle.json": `{"targets": {"/etc/a": {"template": "t"}}}`, "damaged": "AGE-SECRET-KEY-1",
	})
	const noKey = "db.password: is sealed, and there is no key to open it: its container has one (confighub render takes it with --seal-key)"
	for args, want := range map[string]string{
		"t --data data.json":                                      "data: " + noKey,
		"t --data data.json --seal-key " + file:                   "data: db.password: is sealed for web.shop.vm1, and this container has no name: set identity.host, stack and service",
		"t --data data.json --as web.shop.vm1 --seal-key " + file: "pw=s3cret",
		"t --data data.json --set db.password=x":                  "pw=x",
		"bundle --as web.shop.vm1":                                "data/a.json:1: " + noKey,
		"bundle --as web.shop.vm1 --seal-key " + file:             "==> /etc/a (0600) <==\npw=s3cret\n",
		"bundle --set db.password=x":                              "==> /etc/a (0644) <==\npw=x\n",
		"bundle --as web.shop.vm1 --seal-key damaged":             "--seal-key: the key for sealed values is damaged: damaged:1: is no X25519 key of age",
		"t --data data.json --as db.shop.vm1 --seal-key " + file:  "data: db.password: is sealed for web.shop.vm1, and this is db.shop.vm1: seal the value for that one too",
		"t --data data.json --seal-key none":                      "--seal-key: the key for sealed values: reading \"none\": no such file or directory",
	} {
		out, _, err := runs(t, append([]string{"render"}, strings.Fields(args)...)...)
		if err != nil {
			out += err.Error()
		}
		if out != want {
			t.Errorf("%s: got %q", args, out)
		}
	}
	// What would change is shown without the secret, in a template's file too.
	putFiles(t, dir, map[string]string{"now": "pw=0ld"})
	out, _, err := runs(t, "render", "t", "--data", "data.json", "--as", "web.shop.vm1", "--seal-key", file, "--diff", "-o", "now")
	if err == nil || !strings.Contains(out, "+pw=***") || strings.Contains(out, "s3cret") {
		t.Errorf("the difference is\n%s%v", out, err)
	}
}
