// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// This test process is the service.
func TestPorts(t *testing.T) {
	dir := t.TempDir()
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid()}}
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	look := Ports(dir)
	expect(t, look(t.Context()), health.Pass, "listens on no TCP port")
	one, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := net.SplitHostPort(one.Addr().String())
	_, second, _ := net.SplitHostPort(two.Addr().String())
	expect(t, look(t.Context()), health.Pass, first)
	expect(t, look(t.Context()), health.Pass, second)
	two.Close()
	expect(t, look(t.Context()), health.Fail, "listens no longer on "+second)
	// Another process in its place has ports of its own.
	state.Service.PID = os.Getppid()
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t.Context()), health.Pass, "")
	state.Service.State = initctl.ServiceExited
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got := look(t.Context()); !got.Blind {
		t.Errorf("without a service: %+v", got)
	}
}

// What cannot be seen is not taken for nothing: a /proc that shows no processes of others (hidepid).
func TestPortsUnseen(t *testing.T) {
	dir, proc := t.TempDir(), t.TempDir()
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid()}}
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	look := (&ports{runDir: dir, proc: proc}).look
	if got := look(t.Context()); !got.Unsupported || !got.Blind || got.State != health.Unknown {
		t.Errorf("hidden: %+v", got)
	}
}

func TestScanListening(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 200 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0016 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 300 1 0000000000000000 100 0 0 10 0
`
	found := map[uint16]bool{}
	inodes := map[string]bool{"100": true, "300": true}
	if err := scanListening(bufio.NewScanner(strings.NewReader(table)), inodes, found); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint16]bool{8080: true}, found); diff != "" {
		t.Error(diff)
	}
}
