// SPDX-License-Identifier: AGPL-3.0-or-later

// Package daemon is what every program of the house does the same way: its command line, its log, the
// group of its tasks, its signals and its exit codes.
//
// A program's main is
//
//	app := daemon.New("loghub", "turns what a container writes into events", sections, run, receive, status)
//	os.Exit(daemon.Main(app))
//
// where sections tells which settings the program reads, and the commands are made with [Service] when they run until
// they are told to stop. Every program takes --config FILE (or HUB_CONFIG), --check, --schema and --version.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage or wrong settings (see [Usage]; hubinit does not restart after 2).
// Errors go to stderr, settings' problems one a line; output of commands goes to stdout.
//
// TERM and INT end the context of a command, with the signal as its cause; a second one ends the
// process the way the kernel does.
//
// Left out: what hubinit hands to a hub (package initctl) and what the settings mean (each hub's own section).
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/initctl"
)

// New makes a program with the flags that all of them have. With --check it loads the sections and
// says everything that is wrong with them; sections is called once per use, for values nobody else holds.
// A command without ArgsUsage is given no arguments: with one it ends as wrong usage.
func New(name, usage string, sections func() []hubfile.Section, commands ...*cli.Command) *cli.App {
	takeNoArguments(commands)
	return &cli.App{
		Name:                 name,
		Usage:                usage,
		Version:              Version(),
		Commands:             commands,
		EnableBashCompletion: true,
		Suggest:              true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "settings `FILE`; drop-ins are hub.d/*.json beside it", EnvVars: []string{initctl.EnvConfig}, Value: initctl.DefaultConfig},
			&cli.BoolFlag{Name: "check", Usage: "check the settings, say everything that is wrong, and exit"},
			&cli.BoolFlag{Name: "schema", Usage: "print the JSON Schema of the settings this program reads, and exit"},
		},
		Before: func(c *cli.Context) error {
			if (c.Bool("check") || c.Bool("schema")) && c.Args().Present() {
				return Usage(fmt.Errorf("--check and --schema stand alone, without %q", c.Args().First()))
			}
			return nil
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("check"):
				return check(c, sections())
			case c.Bool("schema"):
				return schema(c, sections())
			case c.Args().Present():
				return Usage(fmt.Errorf("unknown command %q; %s --help lists them", c.Args().First(), name))
			}
			return Usage(fmt.Errorf("a command is missing; %s --help lists them", name))
		},
	}
}

// takeNoArguments makes commands that say nothing of arguments refuse them, where the library would pass over them.
func takeNoArguments(commands []*cli.Command) {
	for _, command := range commands {
		takeNoArguments(command.Subcommands)
		if command.ArgsUsage != "" || len(command.Subcommands) > 0 {
			continue
		}
		action := command.Action
		command.Action = func(c *cli.Context) error {
			if c.Args().Present() {
				return Usage(fmt.Errorf("%s takes no arguments, got %q", c.Command.Name, c.Args().First()))
			}
			return action(c)
		}
	}
}

// Service makes the action of a command that runs until it is told to stop: hardened, with the program's log
// on stderr. c.Context ends with TERM or INT, and that run then ends is logged, with the signal. An error of run is logged
// too, one line for each problem of settings.
func Service(run func(c *cli.Context, log zerolog.Logger) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		log := Logger(c.App.Name, c.App.ErrWriter)
		// A crash must not look like exit code 2, "settings are wrong": Go ends so after a panic, this way by SIGABRT.
		debug.SetTraceback("crash")
		// A reader of our output that went away is an error of that write, not our end (os/signal, SIGPIPE).
		// Not signal.Ignore, which the programs that we start would inherit.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		if err := Harden(); err != nil {
			log.Warn().Err(err).Msg("other processes of this uid can read this one")
		}
		err := run(c, log)
		if err == nil || cancelled(c.Context, err) {
			if c.Context.Err() != nil {
				log.Info().Str("cause", context.Cause(c.Context).Error()).Msg("stopped")
			}
			return nil
		}
		for _, line := range lines(err) {
			log.Error().Msg(line)
		}
		return saidError{err}
	}
}

// Main runs the program with the arguments and signals of this process and returns its exit code.
func Main(app *cli.App) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // from the first signal on, the next one has its usual effect
	return run(ctx, app, os.Args)
}

// run is Main without the process around it.
func run(ctx context.Context, app *cli.App, args []string) int {
	prepare(app)
	err := app.RunContext(ctx, completing(args))
	if err == nil {
		return ExitDone
	}
	if !errors.As(err, new(saidError)) {
		for _, line := range lines(err) {
			fmt.Fprintf(app.ErrWriter, "%s: %s\n", app.Name, line)
		}
	}
	if wrongUsage(err) {
		return ExitUsage
	}
	return ExitFailed
}

// completing makes a single -- that the shell is to complete a -, since after a -- the library completes nothing and runs the command.
func completing(args []string) []string {
	if n := len(args); n > 2 && args[n-1] == "--generate-bash-completion" && args[n-2] == "--" {
		args = append(slices.Clone(args[:n-2]), "-", args[n-1])
	}
	return args
}

// prepare takes from the command line library what is ours: printing errors and ending the process.
func prepare(app *cli.App) {
	if app.Writer == nil {
		app.Writer = os.Stdout
	}
	if app.ErrWriter == nil {
		app.ErrWriter = os.Stderr
	}
	app.ExitErrHandler = func(*cli.Context, error) {}
	app.OnUsageError = onUsageError
	var each func(commands []*cli.Command)
	each = func(commands []*cli.Command) {
		for _, command := range commands {
			command.OnUsageError = onUsageError
			// It would be listed as a command below each one that parses its own flags.
			command.HideHelpCommand = true
			each(command.Subcommands)
		}
	}
	each(app.Commands)
}

// onUsageError replaces the library's habit of printing the help over the error.
func onUsageError(_ *cli.Context, err error, _ bool) error { return FlagError(err) }

// libraryFlag is how package flag writes a flag in its errors: with one hyphen. It is made when there is one: every hub would
// keep it.
var libraryFlag = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:flag provided but not defined:|flag needs an argument:|(invalid (?:boolean )?value ".*") for(?: flag)?) -`)
})

// FlagError makes an error of package flag one of usage, with the flag as people type it.
func FlagError(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	at := libraryFlag().FindStringSubmatchIndex(text)
	if at == nil {
		return Usage(err)
	}
	flag := text[at[1]:]
	switch {
	case strings.HasPrefix(text, "flag provided"):
		return Usage(fmt.Errorf("unknown flag --%s", flag))
	case strings.HasPrefix(text, "flag needs"):
		return Usage(fmt.Errorf("--%s: a value is missing", flag))
	}
	name, why, _ := strings.Cut(flag, ": ")
	return Usage(fmt.Errorf("--%s: %s: %s", name, text[at[2]:at[3]], why))
}
