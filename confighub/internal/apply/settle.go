// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// settleTick is how often init.json is looked at while a service settles; a look costs some 20 µs.
const settleTick = 50 * time.Millisecond

// verdictMargin is how much later than asked healthhub may answer: it counts failures to the end.
const verdictMargin = 2 * time.Minute

// minAsked is the shortest time that healthhub takes.
const minAsked = time.Second

// service is the service as hubinit sees it.
func (a *Applier) service() (*initctl.ServiceState, error) {
	state, err := initctl.ReadState(a.opts.RunDir)
	if err != nil {
		return nil, err
	}
	return &state.Service, nil
}

// settle watches the service on its new files, with healthhub when it answers, and returns why they are bad.
// Without hubinit there is nothing to watch.
func (a *Applier) settle(ctx context.Context, before *initctl.ServiceState, restarted bool) []string {
	if a.opts.Settle <= 0 || before == nil || !restarted && before.State != initctl.ServiceRunning {
		return nil
	}
	start := before
	if restarted {
		var err error
		if start, err = a.service(); err != nil {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.Settle+verdictMargin)
	defer cancel()
	verdict := make(chan []string, 1)
	go func() { verdict <- a.askHealth(ctx) }()
	asked := false
	defer func() {
		if cancel(); !asked {
			<-verdict
		}
	}()
	tick := time.NewTicker(settleTick)
	defer tick.Stop()
	for begin := time.Now(); !asked || time.Since(begin) < a.opts.Settle; {
		switch reason, stopping := a.worse(start); {
		case stopping:
			return nil
		case reason != "":
			return []string{reason}
		}
		select {
		case reasons := <-verdict:
			asked = true
			if len(reasons) > 0 && !a.stopping() {
				return reasons
			}
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// stopping reports whether the container was told to stop. From then on the service's end says nothing about its
// files: the version stays on trial, and the next start watches it again.
func (a *Applier) stopping() bool {
	state, err := initctl.ReadState(a.opts.RunDir)
	return err == nil && toldToStop(state)
}

func toldToStop(state *initctl.State) bool { return strings.HasPrefix(state.Stopping, "signal") }

// worse says how the service is not what it was at the start of settling; "" when it is.
func (a *Applier) worse(start *initctl.ServiceState) (reason string, stopping bool) {
	state, err := initctl.ReadState(a.opts.RunDir)
	if err != nil || toldToStop(state) {
		return "", err == nil
	}
	now := &state.Service
	switch {
	case now.State == initctl.ServiceStopping, now.State == initctl.ServiceStarting:
		return "", false
	case now.State == initctl.ServiceRunning && now.StartedAt.Equal(start.StartedAt):
		return "", false
	}
	return died(now), false
}

// died says how the service ended.
func died(now *initctl.ServiceState) string {
	switch {
	case now.LastExit == nil:
		return "the service did not keep running on the new configuration"
	case now.LastExit.Signal != "":
		return fmt.Sprintf("the service was killed by SIG%s on the new configuration", now.LastExit.Signal)
	}
	return fmt.Sprintf("the service exited with code %d on the new configuration", now.LastExit.Code)
}

// askHealth asks healthhub, which runs the critical checks every second meanwhile. It returns reasons only for
// a verdict of worse: a healthhub that is absent or in trouble leaves the judgement to the process alone.
func (a *Applier) askHealth(ctx context.Context) []string {
	if a.opts.Settle < minAsked {
		return nil
	}
	socket := filepath.Join(a.opts.RunDir, "health.sock")
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://healthhub/v1/settle?for="+a.opts.Settle.String(), nil)
	if err != nil {
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var answer struct {
		Verdict string   `json:"verdict"`
		Reasons []string `json:"reasons"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer)
	if err != nil || response.StatusCode != http.StatusOK || answer.Verdict != "worse" {
		return nil
	}
	if len(answer.Reasons) == 0 {
		return []string{"the service's health got worse on the new configuration"}
	}
	return answer.Reasons
}
