// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
)

// saveEvery spares flash storage: what is lost with a crash is when somebody was seen last, within this.
const saveEvery = 5 * time.Minute

const (
	storeFile   = "received.json"
	muteFile    = "mutes.json"
	storeSchema = 1
	maxStore    = 16 << 20
)

// stored is the file: who reported, what it was, and how far its sequence had come.
type stored struct {
	Schema int          `json:"schema"`
	Level  string       `json:"level"`
	Peers  []storedPeer `json:"peers"`
}

type storedPeer struct {
	Name     string       `json:"name"`
	State    health.State `json:"state"`
	Seen     time.Time    `json:"seen"`
	Stopping bool         `json:"stopping,omitempty"`
	Due      float64      `json:"due,omitempty"`  // of a job: seconds from Seen until the next is overdue
	Text     string       `json:"text,omitempty"` // of a job
	Voices   []origin     `json:"voices"`         // newest first; the first is the one that is told of
	Retired  []origin     `json:"retired,omitempty"`
}

// remember keeps what is known, every saveEvery and at the end. It does so beside the sums, which wait for no disk.
func (c *Collector) remember(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	defer c.keep()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.keep()
		}
	}
}

// keep saves, and says when it cannot: the reports are worth more than the memory of them.
func (c *Collector) keep() {
	if err := c.save(); err != nil {
		c.log.Warn().Err(err).Msg("who reported is not remembered over a restart")
	}
}

// save replaces <StateDir>/received.json.
func (c *Collector) save() error {
	if c.StateDir == "" {
		return nil
	}
	out := stored{Schema: storeSchema, Level: c.Level(), Peers: []storedPeer{}}
	c.mu.Lock()
	for name, p := range c.peers {
		v := &p.voices[0]
		s := storedPeer{Name: name, State: v.node.State, Seen: v.wall, Stopping: v.stopping, Due: v.due.Seconds(), Retired: slices.Clone(p.retired)}
		if v.due > 0 {
			s.Text = v.node.Text
		}
		for _, v := range p.voices {
			s.Voices = append(s.Voices, v.origin)
		}
		out.Peers = append(out.Peers, s)
	}
	c.mu.Unlock()
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("keeping what is known: %w", err)
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return fmt.Errorf("keeping what is known: %w", err)
	}
	return atomicfile.Write(filepath.Join(c.StateDir, storeFile), append(data, '\n'), 0o600)
}

// load reads what save wrote. What cannot be used is said and left: it is only a memory, and the reports bring all
// of it back within half a minute.
func (c *Collector) load() {
	if c.StateDir == "" {
		return
	}
	path := filepath.Join(c.StateDir, storeFile)
	in, err := readStore(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && in.Level != c.Level() {
		err = fmt.Errorf("it is of a %s, this is a %s", in.Level, c.Level())
	}
	if err != nil {
		c.log.Warn().Err(err).Str("file", path).Msg("what was known before the restart is not used")
		return
	}
	for _, s := range in.Peers {
		if p := s.peer(c.kind); p != nil {
			c.peers[s.Name] = p
		}
	}
}

// peer is who was kept, or nil if that cannot be. All but the one that is told of count as of the past: whoever still lives
// goes on with a higher number.
func (s *storedPeer) peer(kind string) *peer {
	if health.CheckName(kind, s.Name) != nil || len(s.Voices) == 0 || len(s.Voices)+len(s.Retired) > maxVoices+maxRetired {
		return nil
	}
	due := time.Duration(min(s.Due, report.MaxDue.Seconds()) * float64(time.Second))
	return &peer{
		voices: []voice{{
			origin: s.Voices[0], wall: s.Seen, stopping: s.Stopping, due: due,
			node: health.Node{Kind: kind, Name: s.Name, State: s.State, Text: health.CleanText(s.Text), Since: s.Seen},
		}},
		retired: append(s.Retired, s.Voices[1:]...),
	}
}

func readStore(path string) (in stored, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return in, err
	}
	if info.Size() > maxStore {
		return in, fmt.Errorf("%d bytes are too many", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return in, err
	}
	return in, json.Unmarshal(data, &in)
}
