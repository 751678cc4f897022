// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"cloud4.internal/hub/internal/atomicfile"
)

// Names of the state files, which are also the names of their sections: [WriteFile] makes <name>.json in the run
// directory, written by the program <name>hub.
const (
	ConfigFile = "config"
	HealthFile = "health"
	LogFile    = "log"
)

// fileSchema is the version of the state files. A reader takes files of its own version and of versions above
// it, whose known fields keep their meaning.
const fileSchema = 1

// maxFileBytes bounds what ReadFile takes in: a tree of ContainerLimits with long texts.
const maxFileBytes = 4 << 20

// MaxValid is the longest time a state file can be valid for. A file that says it is valid for longer was
// written before the machine's last boot, when its clock stood higher.
const MaxValid = time.Hour

// File is a state file of a hub: its health and, under the name of the file, a section of its own.
//
//	{"schema":1, "program":"confighub", "pid":7, "written_at":"…", "valid_until_boot":4711.5, "health":{…}, "config":{…}}
//
// It expires on CLOCK_BOOTTIME, which runs on through suspend and which setting the date does not move.
type File struct {
	Schema         int
	Program        string
	PID            int
	WrittenAt      time.Time
	ValidUntilBoot float64 // seconds since the machine booted, as /proc/uptime shows; 0: no expiry
	Health         Node
	Section        json.RawMessage
}

// sectionKey is the key of a file's section: its name, but in health.json, where that is the node's, the program's.
func sectionKey(name string) string {
	if name == HealthFile {
		return "healthhub"
	}
	return name
}

// WriteFile replaces <runDir>/<name>.json atomically. section is encoded as JSON under the key name (healthhub
// in health.json); nil leaves it out. validFor is how long the file is to be believed, at most MaxValid; 0: as long as it stands.
func WriteFile(runDir, name string, node Node, section any, validFor time.Duration) error {
	out := map[string]any{
		"schema": fileSchema, "program": name + "hub", "pid": os.Getpid(),
		"written_at": time.Now().UTC(), "health": node,
	}
	if validFor > 0 {
		now, err := bootSeconds()
		if err != nil {
			return fmt.Errorf("writing state file %s: %w", name, err)
		}
		out["valid_until_boot"] = now + min(validFor, MaxValid).Seconds()
	}
	if section != nil {
		out[sectionKey(name)] = section
	}
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encoding state file %s: %w", name, err)
	}
	return atomicfile.WriteVolatile(filepath.Join(runDir, name+".json"), append(data, '\n'), 0o644)
}

// ReadFile reads <runDir>/<name>.json. It wraps fs.ErrNotExist when the program never wrote one. A file that
// has expired is returned like any other: see [File.Stale].
func ReadFile(runDir, name string) (*File, error) {
	path := filepath.Join(runDir, name+".json")
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading state file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("reading state file %s: must be a regular file of at most %d bytes", path, maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading state file: %w", err)
	}
	var head struct {
		Schema         int       `json:"schema"`
		Program        string    `json:"program"`
		PID            int       `json:"pid"`
		WrittenAt      time.Time `json:"written_at"`
		ValidUntilBoot float64   `json:"valid_until_boot"`
		Health         Node      `json:"health"`
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("reading state file %s: %w", path, err)
	}
	if err := json.Unmarshal(data, &sections); err != nil {
		return nil, fmt.Errorf("reading state file %s: %w", path, err)
	}
	if head.Schema < fileSchema {
		return nil, fmt.Errorf("reading state file %s: schema %d, want %d or above", path, head.Schema, fileSchema)
	}
	return &File{
		Schema: head.Schema, Program: head.Program, PID: head.PID, WrittenAt: head.WrittenAt,
		ValidUntilBoot: head.ValidUntilBoot, Health: head.Health, Section: sections[sectionKey(name)],
	}, nil
}

// Stale reports whether the file has expired: its writer did not renew it in time, or wrote it before the
// machine's last boot.
func (f *File) Stale() bool {
	if f.ValidUntilBoot == 0 {
		return false
	}
	now, err := bootSeconds()
	return err != nil || now > f.ValidUntilBoot || f.ValidUntilBoot > now+MaxValid.Seconds()+1
}

// clockBoottime is CLOCK_BOOTTIME (clock_gettime(2)), which package syscall does not name.
const clockBoottime = 7

// bootSeconds reads CLOCK_BOOTTIME.
func bootSeconds() (float64, error) {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("reading the boot clock: %w", errno)
	}
	return float64(ts.Sec) + float64(ts.Nsec)/1e9, nil
}
