// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"cloud4.internal/hub/internal/initctl"
)

// Ports makes the look that a container without settings gets: it learns on which TCP ports the service and its
// descendants listen, and fails when they stop to. Nothing is connected to, since some services log
// every connection that says nothing.
//
// Whose socket it is stands in /proc/<pid>/fd, which only the same user may read, and not every service can be read. Then
// the look passes and says that it sees nothing: the process is watched all the same.
func Ports(runDir string) Func {
	p := &ports{runDir: runDir, proc: "/proc"}
	return p.look
}

// Listening is on which TCP ports the service listens now, in order. It is an error where nobody can see that.
func Listening(runDir string) ([]uint16, error) {
	_, now, err := (&ports{runDir: runDir, proc: "/proc"}).now()
	return slices.Sorted(maps.Keys(now)), err
}

type ports struct {
	runDir, proc string

	mu      sync.Mutex // guards what follows
	pid     int        // of the service whose ports were learnt
	learned map[uint16]bool
}

// now gives the service's process and the ports on which it listens.
func (p *ports) now() (pid int, listening map[uint16]bool, err error) {
	state, err := initctl.ReadState(p.runDir)
	if err != nil {
		return 0, nil, err
	}
	if state.Service.State != initctl.ServiceRunning {
		return 0, nil, errors.New("the service does not run")
	}
	inodes, err := p.sockets(state.Service.PID)
	if err != nil {
		return 0, nil, err
	}
	listening, err = p.listening(inodes)
	return state.Service.PID, listening, err
}

func (p *ports) look(context.Context) Result {
	pid, now, err := p.now()
	if errors.Is(err, fs.ErrPermission) {
		return unsupported("the service's ports cannot be seen: it runs as another user, or /proc hides it")
	}
	if err != nil {
		return blind("%v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.learned == nil || p.pid != pid {
		p.pid, p.learned = pid, map[uint16]bool{}
	}
	var gone []uint16
	for port := range p.learned {
		if !now[port] {
			gone = append(gone, port)
		}
	}
	maps.Copy(p.learned, now)
	switch {
	case len(gone) > 0:
		return fail("listens no longer on %s", list(gone))
	case len(p.learned) == 0:
		return pass("listens on no TCP port")
	}
	return pass("listens on %s", list(slices.Collect(maps.Keys(now))))
}

func list(ports []uint16) string {
	slices.Sort(ports)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ", "), "[]")
}

// sockets gives the inodes of the sockets that pid and its descendants have open.
func (p *ports) sockets(pid int) (map[string]bool, error) {
	inodes := map[string]bool{}
	var denied error
	for i, pid := range p.family(pid) {
		dir := filepath.Join(p.proc, strconv.Itoa(pid), "fd")
		d, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			if i == 0 && syscall.Kill(pid, 0) != syscall.ESRCH {
				denied = fs.ErrPermission // it is there and not shown: /proc is mounted with hidepid
			}
			continue // gone since
		}
		if err != nil {
			denied = err
			continue
		}
		names, _ := d.Readdirnames(-1) // a process that ends meanwhile makes this fail: what was read counts
		d.Close()
		for _, name := range names {
			target, err := os.Readlink(filepath.Join(dir, name))
			if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	if len(inodes) == 0 && denied != nil {
		return nil, denied
	}
	return inodes, nil
}

// family is pid and its descendants.
func (p *ports) family(pid int) []int {
	stats, _ := filepath.Glob(filepath.Join(p.proc, "[0-9]*", "stat")) // the pattern is a good one
	children := map[int][]int{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := statFields(string(data))
		child, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// listening gives the ports on which one of the sockets listens.
func (p *ports) listening(inodes map[string]bool) (map[uint16]bool, error) {
	found := map[uint16]bool{}
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(p.proc, "net", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return nil, err
		}
		err = scanListening(bufio.NewScanner(f), inodes, found)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// scanListening reads /proc/net/tcp or tcp6 (proc_pid_net(5)). Listening sockets (state 0A) stand first, so that a
// server with many connections costs no more than one without.
func scanListening(lines *bufio.Scanner, inodes map[string]bool, found map[uint16]bool) error {
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[0] == "sl" {
			continue
		}
		if fields[3] != "0A" {
			break
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err == nil && inodes[fields[9]] {
			found[uint16(port)] = true
		}
	}
	return lines.Err()
}
