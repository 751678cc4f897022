// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cloud4.internal/hub/internal/initctl"
)

// serviceEnvFile is written by confighub in the run directory: NUL-separated
// KEY=VALUE, so that a value may hold a newline.
const serviceEnvFile = "service.env"

// maxServiceEnv bounds the file: execve(2) takes little more in all.
const maxServiceEnv = 1 << 20

// private says whether a variable is the hubs' own and kept from the service.
func private(name string) bool {
	if !strings.HasPrefix(name, "HUB_") {
		return false
	}
	return slices.Contains(initctl.Private(), name) || strings.HasPrefix(name, initctl.EnvToken) ||
		strings.HasSuffix(name, "_FD") || strings.HasSuffix(name, "_FDS")
}

// withoutPrivate is the environment without the hubs' own variables.
func withoutPrivate(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return private(name)
	})
}

// setEnv adds KEY=VALUE pairs; of one name the last stays alone.
func setEnv(env []string, pairs ...string) []string {
	for _, kv := range pairs {
		name, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, kv)
	}
	return env
}

func getEnv(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// readServiceEnv reads <runDir>/service.env; absent means nothing to add. A file
// of another uid is refused: the directory may be writable to it.
func readServiceEnv(runDir string) ([]string, error) {
	path := filepath.Join(runDir, serviceEnvFile)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s must be a regular file of uid %d", path, os.Geteuid())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxServiceEnv+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxServiceEnv {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxServiceEnv)
	}
	return parseServiceEnv(string(data)), nil
}

// parseServiceEnv keeps what is KEY=VALUE and steers nothing; confighub refuses the rest aloud.
func parseServiceEnv(data string) (pairs []string) {
	for kv := range strings.SplitSeq(data, "\x00") {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "" && !initctl.Steering(name) {
			pairs = append(pairs, kv)
		}
	}
	return pairs
}
