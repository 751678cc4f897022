// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/internal/initctl"
)

// account says as whom commands run: as the service does. A healthhub of another uid than root can run them as nobody else
// than itself, and need not: hubs and service then have the same uid.
type account struct {
	runDir string

	mu   sync.Mutex // guards last
	last *syscall.Credential
}

// errTooFew says that we may not become the service's user, or may not kill what we start as it.
var errTooFew = errors.New("the service runs as another user, and healthhub lacks the capabilities to run commands as that one")

// credential gives the account of a command; nil: our own.
func (a *account) credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	state, err := initctl.ReadState(a.runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no hubinit: somebody started us as whom he likes
	}
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if state.Service.PID > 0 {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(state.Service.PID) + "/status")
		if err == nil {
			if a.last, err = parseCredential(string(status)); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case a.last == nil && os.Getenv(initctl.EnvUser) == "":
		return nil, nil
	case a.last == nil:
		return nil, errors.New("the service has not run yet, so whose rights a command should have is not known")
	case a.last.Uid == 0:
		return nil, nil
	case !mayBecome():
		return nil, errTooFew
	}
	return a.last, nil
}

// parseCredential reads /proc/<pid>/status (proc_pid_status(5)). Of the uids the real one counts: whoever has more by a set-user-ID program
// has it by that program.
func parseCredential(status string) (*syscall.Credential, error) {
	c := &syscall.Credential{}
	found := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		var numbers []uint32
		switch key {
		case "Uid", "Gid", "Groups":
			for word := range strings.FieldsSeq(value) {
				n, err := strconv.ParseUint(word, 10, 32)
				if err != nil {
					return nil, fmt.Errorf("line %q of the status of the service's process", strings.TrimSpace(line))
				}
				numbers = append(numbers, uint32(n))
			}
			found++
		}
		switch {
		case key == "Groups":
			c.Groups = numbers
		case key == "Uid" && len(numbers) > 0:
			c.Uid = numbers[0]
		case key == "Gid" && len(numbers) > 0:
			c.Gid = numbers[0]
		}
	}
	if found != 3 {
		return nil, errors.New("the status of the service's process has no uid, gid and groups")
	}
	return c, nil
}

// mayBecome reports whether we may take another uid and gid, and kill what has it.
var mayBecome = sync.OnceValue(func() bool {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_KILL
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&need == need
})

// environ is the environment of commands: ours without what is for the hubs alone, with the home of another account.
func environ(c *syscall.Credential) []string {
	var env []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !hubsOwn(name) {
			env = append(env, entry)
		}
	}
	if c == nil {
		return env
	}
	home := "/"
	if u, err := user.LookupId(strconv.FormatUint(uint64(c.Uid), 10)); err == nil {
		home = u.HomeDir
		env = append(env, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	return append(env, "HOME="+home)
}

// hubsOwn reports whether a variable is a secret of the hubs or names a descriptor of one. The known ones are initctl's; those of a later
// version are told by their form.
func hubsOwn(name string) bool {
	for _, private := range initctl.Private() {
		if name == private {
			return true
		}
	}
	return strings.HasPrefix(name, initctl.EnvToken) ||
		strings.HasPrefix(name, "HUB_") && (strings.HasSuffix(name, "_FD") || strings.HasSuffix(name, "_FDS"))
}
