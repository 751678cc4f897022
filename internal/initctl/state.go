// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
)

// StateFile is the name of hubinit's state file in the run directory.
const StateFile = "init.json"

// schema is the version of init.json. A reader takes files of its own version
// and of versions above it, whose known fields keep their meaning.
const schema = 1

// maxStateBytes bounds what ReadState takes in; a full file has about 6 kB.
const maxStateBytes = 256 << 10

// AnswersKept is how many answers to requests init.json holds, newest last.
const AnswersKept = 16

// States of the service.
const (
	ServiceWaiting  = "waiting"  // the gate is not open yet
	ServiceStarting = "starting" // hooks of init.d run, or an in-place restart is under way
	ServiceRunning  = "running"
	ServiceStopping = "stopping" // the stop signal was sent
	ServiceExited   = "exited"
)

// States of a hub.
const (
	HubRunning = "running"
	HubBackoff = "backoff" // exited, with 0 too once it was ready; is started again at NextStart
	HubOff     = "off"     // exit code 2, or its program is missing: final
	HubDone    = "done"    // exit code 0 before ready: it had nothing to do; or hubinit told it to stop
)

// Outcomes of a request.
const (
	AnswerPending = "pending" // a restart under way
	AnswerOK      = "ok"
	AnswerRefused = "refused" // Error says why
)

// State is what hubinit says of itself: init.json.
type State struct {
	Schema    int                  `json:"schema"`
	Boot      string               `json:"boot"`       // random, new at each start of the container
	PID       int                  `json:"pid"`        // hubinit's own
	StartedAt time.Time            `json:"started_at"` // of hubinit
	Version   string               `json:"version,omitempty"`
	Slot      string               `json:"slot"`                // "0", …; NoSlot
	StateDir  string               `json:"state_dir"`           // the slot's directory
	Stopping  string               `json:"stopping,omitempty"`  // why the container ends: StoppedBy and a signal, or what happened
	ExitCode  *int                 `json:"exit_code,omitempty"` // the code the container ends with; nil: it does not end yet
	Hold      *HoldState           `json:"hold,omitempty"`
	Service   ServiceState         `json:"service"`
	Hubs      map[string]*HubState `json:"hubs"`  // hub's name → its state; a hub that is not wanted is absent
	Pipes     map[string]Pipe      `json:"pipes"` // pipe's name → what hubinit did with it; empty without loghub
	Requests  []Answer             `json:"requests"`
}

// HoldState is a hold in force.
type HoldState struct {
	By    string    `json:"by"` // hub's name
	Until time.Time `json:"until"`
}

// ServiceState is the service, which is the container's CMD.
type ServiceState struct {
	State     string    `json:"state"`
	PID       int       `json:"pid,omitempty"`       // 0: not running
	Ready     bool      `json:"ready"`               // its program was executed and no stop was asked for
	StartedAt time.Time `json:"started_at,omitzero"` // of the process that runs or ran last
	Restarts  int       `json:"restarts"`            // in-place restarts since the container started
	LastExit  *Exit     `json:"last_exit,omitempty"` // nil: never exited
	Waiting   string    `json:"waiting,omitempty"`   // what for, while State is waiting
}

// HubState is one hub.
type HubState struct {
	State     string    `json:"state"`
	PID       int       `json:"pid,omitempty"`
	Ready     bool      `json:"ready"`
	StartedAt time.Time `json:"started_at,omitzero"`
	Restarts  int       `json:"restarts"`
	NextStart time.Time `json:"next_start,omitzero"` // State backoff
	LastExit  *Exit     `json:"last_exit,omitempty"`
}

// Exit is how a process ended.
type Exit struct {
	Code   int       `json:"code"`             // 128+n when killed by signal n
	Signal string    `json:"signal,omitempty"` // name of the signal that killed it
	OOM    bool      `json:"oom,omitempty"`    // the kernel killed for memory in this container's cgroup meanwhile
	At     time.Time `json:"at"`
	Uptime float64   `json:"uptime"` // seconds from its start to its exit
	// Asked is, of the service, who had asked for it: StoppedBy and a signal, or RestartBy and a hub; empty: nobody.
	Asked string `json:"asked,omitempty"`
}

// Pipe is what hubinit did with a log pipe in loghub's stead, in bytes.
type Pipe struct {
	Drained int64 `json:"drained"` // copied to the container's own stdout or stderr
	Lost    int64 `json:"lost"`    // dropped, because the container's stdout took nothing
	// Open says that the last byte read ended no line: what loghub finds next is the rest of one.
	Open bool `json:"open,omitempty"`
}

// Answer is what became of a request.
type Answer struct {
	ID    string    `json:"id"`
	From  string    `json:"from"` // the hub that asked
	Verb  Verb      `json:"verb"`
	State string    `json:"state"` // pending, ok or refused
	Error string    `json:"error,omitempty"`
	At    time.Time `json:"at"`
}

// ReadState reads <runDir>/init.json. It wraps fs.ErrNotExist where hubinit
// never ran, or runs without a writable run directory.
func ReadState(runDir string) (*State, error) {
	path := filepath.Join(runDir, StateFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading hubinit's state: %w", err)
	}
	if info.Size() > maxStateBytes {
		return nil, fmt.Errorf("reading hubinit's state %s: %d bytes, at most %d", path, info.Size(), maxStateBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading hubinit's state: %w", err)
	}
	s := new(State)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("reading hubinit's state %s: %w", path, err)
	}
	if s.Schema < schema {
		return nil, fmt.Errorf("reading hubinit's state %s: schema %d, want %d or above", path, s.Schema, schema)
	}
	return s, nil
}

// Write replaces <runDir>/init.json atomically, without fsync: the directory is
// volatile. It sets Schema.
func (s *State) Write(runDir string) error {
	s.Schema = schema
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding hubinit's state: %w", err)
	}
	return atomicfile.WriteVolatile(filepath.Join(runDir, StateFile), append(data, '\n'), 0o644)
}

// AddAnswer records an answer: it replaces the pending one of the same id, else
// is appended, and the oldest leave until AnswersKept remain.
func (s *State) AddAnswer(a Answer) {
	for i := range s.Requests {
		if s.Requests[i].ID == a.ID && s.Requests[i].State == AnswerPending {
			s.Requests[i] = a
			return
		}
	}
	s.Requests = append(s.Requests, a)
	if n := len(s.Requests) - AnswersKept; n > 0 {
		s.Requests = append([]Answer(nil), s.Requests[n:]...)
	}
}

// StoppedBy begins State.Stopping where somebody told the container to end, and not the service itself ended it.
const StoppedBy = "signal "

// RestartBy begins Exit.Asked where a hub asked for a restart in place.
const RestartBy = "restart by "

// ToldToStop reports whether somebody told the container to stop, so that the end of the service is no trouble of its own.
func (s *State) ToldToStop() bool { return strings.HasPrefix(s.Stopping, StoppedBy) }

// Answer finds the answer to the request id.
func (s *State) Answer(id string) (Answer, bool) {
	for _, a := range s.Requests {
		if a.ID == id {
			return a, true
		}
	}
	return Answer{}, false
}
