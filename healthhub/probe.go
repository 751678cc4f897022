// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

func probeCommand(verdict *int) *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "say whether this container is well, as Docker's HEALTHCHECK or as a Nagios plugin",
		Description: `Reads <run>/health.json, as hubinit probe does for Docker; nothing is looked at because somebody asks.

   healthhub probe             exit code 0: pass, or warn with everything up; 1: starting, unknown, fail, or nothing valid there
   healthhub probe --nagios    0 pass, 1 warn, 2 fail, 3 unknown or starting; the score and what the checks measured as perfdata`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "nagios", Usage: "exit codes and output of a Nagios plugin"},
		},
		Action: func(c *cli.Context) error {
			n, ready := readHealth(initctl.RunDir())
			if c.Bool("nagios") { // an alarm, which what is forced is to try out
				n.State = rollup.Judge(&n, rollup.Ready)
				line, code := nagios(&n)
				*verdict = code
				_, err := io.WriteString(c.App.Writer, line)
				return err
			}
			if !rollup.Yes(ready) {
				*verdict = 1
			}
			_, err := fmt.Fprintf(c.App.Writer, "%v%s\n", ready, colon(n.Text))
			return err
		},
	}
}

// maxPlugin is what readers of plugins take of a line for sure (Monitoring Plugins Development Guidelines).
const maxPlugin = 4 << 10

// nagios is a node as the output of a plugin, and its exit code.
func nagios(n *health.Node) (line string, code int) {
	word := "UNKNOWN"
	switch code = 3; n.State {
	case health.Pass:
		word, code = "OK", 0
	case health.Warn:
		word, code = "WARNING", 1
	case health.Fail:
		word, code = "CRITICAL", 2
	}
	score := 0
	if n.Score != nil {
		score = *n.Score
	}
	text := strings.ReplaceAll(n.Name+colon(n.Text), "|", "/") // what follows the bar is perfdata
	const most = 1 << 10
	line = fmt.Sprintf("%s - %s | score=%d;60:;30:;0;100", word, strings.ToValidUTF8(text[:min(len(text), most)], ""), score)
	for i := range n.Children {
		check := &n.Children[i]
		if strings.HasPrefix(check.Name, rollup.HubPrefix) {
			continue
		}
		for _, v := range check.Values {
			if one := " " + perfdata(check.Name, v); len(line)+len(one) < maxPlugin {
				line += one
			}
		}
	}
	return line + "\n", code
}

// perfdata is a value as plugins write it: 'label'=value[unit];warn;crit (Monitoring Plugins Development Guidelines, sections 2.5 and
// 2.6). Of our units s, 1, By and c have one there.
func perfdata(check string, v health.Value) string {
	unit, factor := "", 1.0
	switch v.Unit {
	case "s", "c":
		unit = v.Unit
	case "By":
		unit = "B"
	case "1":
		unit, factor = "%", 100
	}
	number := func(x float64) string { // no exponents: not every reader knows them
		x *= factor
		if x == math.Trunc(x) {
			return strconv.FormatFloat(x, 'f', 0, 64)
		}
		return strings.TrimRight(strconv.FormatFloat(x, 'f', 6, 64), "0")
	}
	below := "" // a range that ends upwards: less is worse (section 2.5)
	if v.Warn != nil && v.Fail != nil && *v.Warn > *v.Fail {
		below = ":"
	}
	out := fmt.Sprintf("'%s/%s'=%s%s", check, v.Name, number(v.Value), unit)
	if v.Warn != nil || v.Fail != nil {
		out += ";"
		if v.Warn != nil {
			out += number(*v.Warn) + below
		}
	}
	if v.Fail != nil {
		out += ";" + number(*v.Fail) + below
	}
	return out
}

// readHealth is this container's node, unknown where nothing valid says how it is, and what Docker is told of it.
func readHealth(runDir string) (n health.Node, ready health.State) {
	unknown := func(name, text string) (health.Node, health.State) {
		return health.Node{State: health.Unknown, Name: name, Text: text}, health.Unknown
	}
	f, err := health.ReadFile(runDir, health.HealthFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unknown("container", "healthhub does not run here: "+runDir+"/health.json is missing")
	case err != nil:
		return unknown("container", err.Error())
	case f.Stale():
		return unknown(f.Health.Name, "healthhub is silent since "+f.WrittenAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	own := agent.Section{Ready: rollup.Judge(&f.Health, rollup.Ready)}
	if len(f.Section) > 0 {
		if err := json.Unmarshal(f.Section, &own); err != nil {
			return unknown(f.Health.Name, runDir+"/health.json cannot be read: "+err.Error())
		}
	}
	return f.Health, own.Ready
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
