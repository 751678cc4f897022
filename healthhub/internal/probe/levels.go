// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// levels are from where on a measure warns and fails, with the words of the settings.
type levels struct {
	warn, fail         setting.Level
	warnText, failText string
}

// parseLevels reads the levels of a check, else the defaults. A default gives way where it stands on the wrong side of
// what is given: who wants a warning at 97 % does not want a failure at 95 %.
func parseLevels(s setting.Check, warn, fail string) (l levels, err error) {
	l.warnText, l.failText = cmp.Or(s.Warn, warn), cmp.Or(s.Fail, fail)
	if l.warn, err = setting.ParseLevel(s.Kind, l.warnText); err != nil {
		return l, err
	}
	if l.fail, err = setting.ParseLevel(s.Kind, l.failText); err != nil {
		return l, err
	}
	switch {
	case !l.fail.Before(l.warn):
	case s.Fail == "":
		l.fail = setting.Level{}
	case s.Warn == "":
		l.warn = setting.Level{}
	}
	return l, nil
}

// state gives the state of a part that is used and what is left, and the level that makes it so.
func (l levels) state(part float64, left int64) (health.State, string) {
	switch {
	case l.fail.Reached(part, left):
		return health.Fail, l.failText
	case l.warn.Reached(part, left):
		return health.Warn, l.warnText
	}
	return health.Pass, ""
}

// judge makes a result of a part that is used and what is left.
func (l levels) judge(text string, part float64, left int64, values []health.Value) Result {
	state, level := l.state(part, left)
	if state != health.Pass {
		text += " (" + state.String() + " at " + level + ")"
	}
	return Result{State: state, Text: health.CleanText(text), Values: values}
}

// value makes the value of a part of a whole of that size, with its levels.
func (l levels) value(name string, part, whole float64) health.Value {
	v := value(name, "1", part)
	v.Warn, v.Fail = some(l.warn.Ceiling(whole)), some(l.fail.Ceiling(whole))
	return v
}
