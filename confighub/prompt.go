// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

var errNoTerminal = errors.New("there is no terminal to ask at")

// askHidden reads a line without echo from the terminal that this process belongs to, wherever its output goes. The
// error is errNoTerminal, or ctx's cause.
func askHidden(ctx context.Context, question string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	defer tty.Close()
	shown, err := hideTyping(tty)
	if err != nil {
		return nil, err
	}
	defer shown()
	fmt.Fprintf(tty, "%s: ", question)
	defer fmt.Fprintln(tty)
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(int(tty.Fd()))
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done(): // the reader is left behind, the terminal as it was
		return nil, context.Cause(ctx)
	}
}

// hideTyping lets a terminal show nothing of what is typed until shown is called. term.ReadPassword would do so after the
// question, which a quick answer overtakes.
func hideTyping(tty *os.File) (shown func(), err error) {
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, before) }, nil // a terminal that is gone shows nothing
}
