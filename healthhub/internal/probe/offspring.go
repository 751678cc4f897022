// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// offspring are the processes that the commands of checks are and leave behind: all of them end with their look, those too that
// made themselves independent of the command (daemon(3): fork, setsid, fork).
//
// Each command leads a session of its own, and this process is a subreaper (PR_SET_CHILD_SUBREAPER): what loses its parent becomes
// our child, not hubinit's. So a process that is our child, of another session than ours, and no command of a look under way, was left
// behind. Whose it was is told by its session, or else by when it began: if no look under way is old enough to have
// started it, it belongs to one that is over, and is killed. Otherwise it dies with the last look it could belong to. It is
// never asked for any child at all (wait4(-1)), so that nobody's is taken who waits for his own; whoever else starts programs in
// this process must leave them in our session.
type offspring struct {
	prepare sync.Once

	mu      sync.Mutex // guards what follows
	looks   []*brood   // under way
	session int        // ours
	again   bool       // a later sweep is set
}

// children is the one of this process, as the kernel's list of children is.
var children offspring

// brood is what one look started.
type brood struct {
	pid   int  // of the command, and of its session; 0: not started yet
	begun tick // before it was started
}

// tick counts hundredths of a second since the machine booted, as proc_pid_stat(5) does.
type tick int64

func bootTicks() tick {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for a bad clock or pointer alone
	return tick(int64(ts.Sec)*100 + int64(ts.Nsec)/1e7)
}

const (
	sweepPause = time.Millisecond       // after a round of killing; doubles …
	sweepMost  = 10 * time.Millisecond  // … up to this: other looks may be leaving things behind too
	sweepTime  = 500 * time.Millisecond // how long a look waits for what it killed
	sweepAgain = time.Second            // until what could not be killed or told apart is looked at again
)

// begin is to be called before a command is started.
func (o *offspring) begin() *brood {
	o.prepare.Do(func() {
		// Where it is refused, orphans become hubinit's children; those that kept their session are found all the same.
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		o.session, _ = unix.Getsid(0)
		keepDescriptors()
	})
	b := &brood{begun: bootTicks()}
	o.mu.Lock()
	o.looks = append(o.looks, b)
	o.mu.Unlock()
	return b
}

// keepDescriptors lets no command have a descriptor that we got from whoever started us; our own are close-on-exec.
func keepDescriptors() {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range fds {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// start starts a command as the head of the brood.
func (o *offspring) start(b *brood, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	o.mu.Lock()
	b.pid = cmd.Process.Pid
	o.mu.Unlock()
	return nil
}

// kill ends a command that was started and is not waited for yet, with all that still hangs on it.
func (o *offspring) kill(pid int) {
	syscall.Kill(-pid, syscall.SIGKILL) // the kernel does this at once for the whole group: no fork gets away
	for _, p := range processes().below(func(p member) bool { return p.pid == pid || p.session == pid }) {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// end is to be called when the command is gone, and waited for. It returns when nothing of the brood is left, or after sweepTime; what
// is left then is tried again later.
func (o *offspring) end(b *brood) {
	o.mu.Lock()
	o.looks = slices.DeleteFunc(o.looks, func(other *brood) bool { return other == b })
	o.mu.Unlock()
	begin := time.Now()
	for pause := sweepPause; o.sweep(b.pid); pause = min(2*pause, sweepMost) {
		if time.Since(begin) > sweepTime {
			o.later()
			return
		}
		time.Sleep(pause)
	}
}

// sweep kills what ended looks left behind, that of the given session too, and reports whether it had to: the next one shows whether it
// is gone.
func (o *offspring) sweep(session int) (found bool) {
	if unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD {
		return false // the usual case: no child, so no descendant
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	self, unclear := os.Getpid(), false
	leftBehind := func(p member) bool {
		its := session != 0 && p.session == session
		switch {
		case its || p.parent != self:
			return its
		case p.session == o.session || o.leads(p):
			return false
		}
		may := o.mayOwn(p)
		unclear = unclear || may
		return !may
	}
	for _, p := range processes().below(leftBehind) {
		found = true
		syscall.Kill(p.pid, syscall.SIGKILL)
		if p.parent == self {
			syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
	}
	if unclear {
		o.setLater()
	}
	return found
}

// leads reports whether a child of ours is the command of a look under way.
func (o *offspring) leads(p member) bool {
	return slices.ContainsFunc(o.looks, func(b *brood) bool { return b.pid == p.pid })
}

// mayOwn reports whether a look under way may have started a child of ours that lost its parent.
func (o *offspring) mayOwn(p member) bool {
	return slices.ContainsFunc(o.looks, func(b *brood) bool {
		if p.dead { // and to be waited for, unless it is a command whose pid we do not know yet
			return b.pid == 0 && b.begun <= p.begun
		}
		return b.begun <= p.begun
	})
}

// later sets another sweep.
func (o *offspring) later() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setLater()
}

func (o *offspring) setLater() {
	if o.again {
		return
	}
	o.again = true
	time.AfterFunc(sweepAgain, func() {
		o.mu.Lock()
		o.again = false
		o.mu.Unlock()
		if o.sweep(0) {
			o.later()
		}
	})
}

// member is a line of the process table.
type member struct {
	pid, parent, session int
	begun                tick
	dead                 bool // and not waited for
}

type processTable []member

// processes reads the process table (proc_pid_stat(5)). What ends meanwhile is left out.
func processes() processTable {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read counts
	table := make(processTable, 0, 64)
	buf := make([]byte, 1024)
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		f, err := os.Open("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		n, _ := f.Read(buf)
		f.Close()
		if p, ok := parseStat(buf[:n]); ok {
			table = append(table, p)
		}
	}
	return table
}

// parseStat reads /proc/<pid>/stat; see statFields.
func parseStat(line []byte) (p member, ok bool) {
	open, end := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return p, false
	}
	const session, begun = 6 - 3, 22 - 3 // the manual counts from 1, and the state is field 3
	fields := statFields(string(line))
	if len(fields) <= begun {
		return p, false
	}
	var errs [4]error
	var start int64
	p.pid, errs[0] = strconv.Atoi(string(line[:open]))
	p.parent, errs[1] = strconv.Atoi(fields[1])
	p.session, errs[2] = strconv.Atoi(fields[session])
	start, errs[3] = strconv.ParseInt(fields[begun], 10, 64)
	p.begun = tick(start)
	p.dead = fields[0][0] == 'Z' || fields[0][0] == 'X'
	return p, errs == [4]error{}
}

// below gives the processes that is says yes to, and all their descendants.
func (t processTable) below(is func(member) bool) []member {
	var found []member
	taken := map[int]bool{}
	for _, p := range t {
		if is(p) {
			found, taken[p.pid] = append(found, p), true
		}
	}
	for i := 0; i < len(found); i++ {
		for _, p := range t {
			if p.parent == found[i].pid && !taken[p.pid] {
				found, taken[p.pid] = append(found, p), true
			}
		}
	}
	return found
}
