// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

// shown is one look of a watch: what there is, or why it could not be had.
type shown struct {
	node    *health.Node
	mutes   []mute.Mute
	trouble error
}

// watch shows what there is until ctx is done.
func (v *statusView) watch(ctx context.Context, out io.Writer) error {
	looks := make(chan shown)
	go func() {
		defer close(looks)
		v.server.follow(ctx, func() (bool, error) { // ends with ctx alone
			select {
			case looks <- v.look(ctx):
			case <-ctx.Done():
			}
			return false, nil
		})
	}()
	if v.term.File == nil {
		return v.journal(looks, out)
	}
	return v.screen(looks)
}

func (v *statusView) look(ctx context.Context) shown {
	root, _, err := v.server.tree(ctx)
	if err != nil {
		return shown{trouble: err}
	}
	n, err := find(root, v.path)
	if err != nil {
		return shown{trouble: err}
	}
	return shown{node: n, mutes: v.mutes(ctx, n)}
}

// journal writes the table once, and then a line for each change.
func (v *statusView) journal(looks <-chan shown, out io.Writer) error {
	changes := record.New("", record.Size)
	var before *health.Node
	trouble := ""
	for l := range looks {
		now := time.Now()
		text := ""
		switch {
		case l.trouble != nil:
			if l.trouble.Error() != trouble {
				trouble = l.trouble.Error()
				text = now.Format(time.DateTime) + "  " + trouble + "\n"
			}
		case before == nil:
			text = v.draw(l.node, l.mutes, now, false)
		default:
			if trouble != "" {
				text = now.Format(time.DateTime) + "  answers again\n"
			}
			for _, e := range changes.Note(before, l.node, now) {
				text += eventLine(e, l.node.Name, 0, terminal.Terminal{}) + "\n"
			}
		}
		if l.trouble == nil {
			before, trouble = l.node, ""
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}

// screen draws the table over the one before, on the terminal's other screen, and leaves the last one on the first.
func (v *statusView) screen(looks <-chan shown) error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	second := time.NewTicker(time.Second) // ages grow
	defer second.Stop()
	if _, err := io.WriteString(v.term.File, terminal.OtherScreen); err != nil {
		return err
	}
	var last shown
	var answered time.Time
	defer func() {
		io.WriteString(v.term.File, terminal.FirstScreen) // a terminal that is gone needs nothing put back
		if last.node != nil {
			io.WriteString(v.term.File, v.draw(last.node, last.mutes, answered, false))
		}
	}()
	for {
		now := time.Now()
		if _, err := io.WriteString(v.term.File, v.picture(last, answered, now)); err != nil {
			return err
		}
		select {
		case l, ok := <-looks:
			if !ok {
				return nil
			}
			if l.trouble == nil {
				last, answered = l, time.Now()
			}
			last.trouble = l.trouble
		case <-second.C:
		case <-resized:
		}
	}
}

// picture is the whole screen: a head, the table, in brief where it would be too long, and how much of it has no room.
func (v *statusView) picture(l shown, answered, now time.Time) string {
	width, height := v.term.Size()
	head := v.server.name + "  " + now.Format(time.TimeOnly) + "  ^C ends"
	switch {
	case l.trouble != nil && l.node != nil:
		head = v.term.PaintState(health.Fail, fmt.Sprintf("as of %s ago: %v", page.Age(now, answered), l.trouble))
	case l.trouble != nil:
		head = v.term.PaintState(health.Fail, l.trouble.Error())
	case l.node == nil:
		head += "  asking …"
	}
	lines := []string{head, ""}
	for _, brief := range []bool{false, true} {
		if l.node != nil && (!brief || len(lines) > height-1) {
			lines = append(lines[:2], strings.Split(strings.TrimRight(v.draw(l.node, l.mutes, now, brief), "\n"), "\n")...)
		}
	}
	return terminal.Picture(lines, width, height)
}
