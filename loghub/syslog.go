// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"io/fs"
	"slices"

	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/source"
	"golang.org/x/sys/unix"
)

// openSyslog makes the socket for syslog(3). By itself it does so in a container only: /dev/log of a machine belongs to
// the machine's own daemon, also while that is down.
func (r *runner) openSyslog() error {
	path, asked := r.settings.Syslog, true
	switch path {
	case "off":
		r.noSyslog = "log.syslog is off"
		return nil
	case "", "auto":
		if !r.hub.Supervised() {
			r.noSyslog = "without hubinit loghub leaves " + source.DefaultSyslog + " to the machine's own daemon"
			return nil
		}
		path, asked = source.DefaultSyslog, false
	}
	if r.spool == nil && r.shared.Emit == nil {
		r.noSyslog = "there is no receiver"
		if asked {
			r.log.Warn().Str("path", path).Msg("syslog messages are not taken: there is neither log.otlp nor log.stdout json to put them")
		}
		return nil
	}
	o := source.SyslogOptions{Path: path, Limit: r.settings.Limit}
	if slices.Contains(parse.Formats(), "syslog") {
		o.Parse.Format = "syslog"
	}
	var err error
	r.syslog, err = source.OpenSyslog(r.shared, o)
	if err == nil {
		return nil
	}
	r.noSyslog, r.deaf = err.Error(), true
	if asked || !unusable(err) {
		r.log.Warn().Err(err).Msg("syslog messages are not taken")
	} else {
		r.log.Info().Err(err).Msg("syslog messages are not taken")
	}
	return nil
}

// unusable says whether err is what a container may well be like: its user cannot write there, or another daemon does
// this work.
func unusable(err error) bool {
	return errors.Is(err, source.ErrTaken) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS)
}
