// SPDX-License-Identifier: AGPL-3.0-or-later

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// answerLimit is longer than the longest transaction: settings let a service settle for five minutes, and what
	// is asked for waits for a transaction under way.
	answerLimit = 20 * time.Minute
	maxAnswer   = 256 << 10
)

// Ask asks the confighub of a run directory and returns its answer. An error says why it was not done, or that
// confighub does not run here.
func Ask(ctx context.Context, runDir string, r Request) (string, error) {
	if err := r.Check(); err != nil {
		return "", err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("asking confighub: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	socket := filepath.Join(runDir, Socket)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://confighub/v1/"+string(r.Verb), bytes.NewReader(raw))
	if err != nil {
		return "", fmt.Errorf("asking confighub: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", explain(socket, err)
	}
	defer response.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("reading confighub's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var problem Problem
		if json.Unmarshal(raw, &problem) != nil || problem.Error == "" {
			return "", fmt.Errorf("asking confighub: %s", response.Status)
		}
		return "", errors.New(problem.Error)
	}
	var answer Answer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return "", fmt.Errorf("reading confighub's answer: %w", err)
	}
	return answer.Text, nil
}

// explain says why nobody answers.
func explain(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("confighub does not run here: there is no %s", socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("confighub does not run here: nobody answers on %s", socket)
	case errors.Is(err, fs.ErrPermission):
		who := "the uid of the hubs"
		if info, statErr := os.Stat(socket); statErr == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				who = fmt.Sprintf("uid %d", stat.Uid)
			}
		}
		return fmt.Errorf("%s is for root and %s: run this as one of them (docker exec --user)", socket, who)
	}
	return fmt.Errorf("asking confighub: %w", err)
}
