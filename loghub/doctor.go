// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/control"
)

// Bounds of --timeout. The conversation with loghub run ends later.
const (
	doctorTimeout = 20 * time.Second
	doctorMin     = time.Second
	doctorMax     = 5 * time.Minute
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "send a line by each way that lines take, and see that the receiver acknowledges it; say what is wrong and what to do",
		Description: `Asks the loghub run of this container, which works on meanwhile. Each way gets a line of its own, a canary,
with a text that nobody can guess: the service's stdout and stderr, a file that is watched, the same file renamed and its
successor, and /dev/log. READ is when an event was made of it, ACKNOWLEDGED when the receiver took the request with exactly that event.

   docker exec web loghub doctor
   docker exec web loghub doctor --timeout 2m
   docker exec web loghub doctor --json | jq '.ways[] | select(.state != "pass")'

Nothing is written to the service's pipes: their reader makes the canary between two lines of the service. Canaries are
events of level debug with an attribute hub.canary: loghub tail FILE --where 'not hub.canary' leaves them out.

Exit code 0: each way that there is came through, whatever else is said; 1: not so, or loghub does not run.`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "timeout", Usage: "wait so long for acknowledgements, 1s to 5m", Value: doctorTimeout},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: func(c *cli.Context) error {
			limit := c.Duration("timeout")
			if limit < doctorMin || limit > doctorMax {
				return daemon.Usage(fmt.Errorf("--timeout: must be between %s and %s, got %s", doctorMin, doctorMax, limit))
			}
			d, err := consultation(c.Context, initctl.RunDir(), limit)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = printJSON(c.App.Writer, d)
			} else {
				_, err = io.WriteString(c.App.Writer, d.text(terminal.Of(c.App.Writer)))
			}
			if err == nil && !d.OK {
				return daemon.ErrSaid
			}
			return err
		},
	}
}

// diagnosis is what a doctor found; --json prints it.
type diagnosis struct {
	OK       bool      `json:"ok"`                 // each way that there is came through
	Receiver string    `json:"receiver,omitempty"` // address; absent: none
	Ways     []*way    `json:"ways"`
	Findings []finding `json:"findings"`
}

// consultation sends the canaries and waits for what becomes of them.
func consultation(ctx context.Context, runDir string, limit time.Duration) (*diagnosis, error) {
	var h hello
	conn, err := control.Dial(runDir, &h)
	if errors.Is(err, control.ErrAbsent) {
		return nil, fmt.Errorf("%w%s", err, whyAbsent(runDir))
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	v := newVisit(conn, h)
	answers := make(chan answer)
	lost := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			var a answer
			if err := conn.Receive(&a); err != nil {
				lost <- err
				return
			}
			select {
			case answers <- a:
			case <-stop:
				return
			}
		}
	}()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	v.begin()
	for late := false; ; {
		if !v.asked && (late || v.done()) {
			v.ask(question{Facts: true})
			timeout.Reset(control.SendLimit)
		}
		select {
		case a := <-answers:
			if a.Facts != nil && v.asked {
				return v.diagnose(*a.Facts, limit), nil
			}
			v.take(a, time.Now())
		case err := <-lost:
			return nil, fmt.Errorf("loghub run has gone in the midst of it, or was stopped (%w): docker logs says why", err)
		case <-timeout.C:
			if v.asked {
				return nil, errors.New("loghub run does not answer any more")
			}
			late = true
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// diagnose sums up.
func (v *visit) diagnose(f facts, limit time.Duration) *diagnosis {
	d := &diagnosis{Receiver: f.Log.Receiver, Ways: v.ways, Findings: examine(f, time.Now())}
	through := 0
	for _, w := range v.ways {
		w.judge(f, limit)
		if w.State == health.Pass {
			through++
		}
		d.OK = d.OK || w.State == health.Fail
	}
	d.OK = !d.OK && through > 0
	return d
}

// whyAbsent tells what hubinit knows of a loghub that does not run.
func whyAbsent(runDir string) string {
	st, err := initctl.ReadState(runDir)
	if err != nil {
		return "; in a container hubinit starts it"
	}
	hub := st.Hubs[initctl.Loghub]
	switch {
	case hub == nil:
		return ": it is not wanted here, see HUB_HUBS"
	case hub.State == initctl.HubOff && hub.LastExit != nil && hub.LastExit.Code == daemon.ExitUsage:
		return ": its settings are wrong, loghub --check says which"
	case hub.State == initctl.HubBackoff && hub.LastExit != nil:
		return fmt.Sprintf(": it ended with %d at %s and is started again at %s; docker logs says why", hub.LastExit.Code,
			hub.LastExit.At.Local().Format(time.TimeOnly), hub.NextStart.Local().Format(time.TimeOnly))
	case hub.State == initctl.HubDone:
		return ": it had nothing to do, or was told to stop; log.otlp names a receiver, log.files what to read"
	}
	return fmt.Sprintf(": init.json says it is %s; docker logs says more", hub.State)
}
