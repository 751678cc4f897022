// SPDX-License-Identifier: AGPL-3.0-or-later

package process_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/process"
)

// TestMain is a process that says its mark and ends with its stdin.
func TestMain(m *testing.M) {
	if os.Getenv("PROCESS_TEST_MARK") == "" {
		os.Exit(m.Run())
	}
	fmt.Printf("%s %s\n", process.Self().Namespace, process.Self().Start)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestGone(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"PROCESS_TEST_MARK=1"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mark process.Mark
	if _, err := fmt.Fscan(out, &mark.Namespace, &mark.Start); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if s, ok := process.Read(pid); !ok || s.Start != mark.Start || s.Name == "" || s.State == "" {
		t.Errorf("%+v", s)
	}
	if mark.Gone(pid) {
		t.Error("it is there")
	}
	for _, m := range []process.Mark{{Namespace: "pid:[1]", Start: mark.Start}, {Namespace: mark.Namespace}, {}} {
		if m.Gone(pid) {
			t.Errorf("%+v cannot be told", m)
		}
	}
	if m := (process.Mark{Namespace: mark.Namespace, Start: "1"}); !m.Gone(pid) {
		t.Error("another has its number")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := bytes.NewBuffer(nil).ReadFrom(out); err != nil { // it has ended, and nobody waits for it yet
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !mark.Gone(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was killed, and is a zombie")
		}
	}
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	if !mark.Gone(pid) {
		t.Error("it was killed")
	}
}
