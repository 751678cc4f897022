// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
)

func TestDefaultLevelsGiveWay(t *testing.T) {
	part := func(p float64) setting.Level { return setting.Level{Part: p} }
	for name, test := range map[string]struct {
		kind, warn, fail string
		wantWarn         setting.Level
		wantFail         setting.Level
	}{
		"none":              {setting.KindInode, "", "", part(0.85), part(0.95)},
		"both":              {setting.KindInode, "10%", "20%", part(0.1), part(0.2)},
		"warns late":        {setting.KindInode, "97%", "", part(0.97), setting.Level{}},
		"warns early":       {setting.KindInode, "50%", "", part(0.5), part(0.95)},
		"fails early":       {setting.KindInode, "", "80%", setting.Level{}, part(0.8)},
		"fails late":        {setting.KindInode, "", "99%", part(0.85), part(0.99)},
		"another measure":   {setting.KindInode, "", "1000", part(0.85), setting.Level{Left: 1000}},
		"scheduler, early":  {setting.KindScheduler, "", "2s", setting.Level{}, setting.Level{Late: 2 * time.Second}},
		"scheduler, normal": {setting.KindScheduler, "", "20s", setting.Level{Late: 5 * time.Second}, setting.Level{Late: 20 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			defaults := [2]string{inodeWarn, inodeFail}
			if test.kind == setting.KindScheduler {
				defaults = [2]string{schedulerWarn, schedulerFail}
			}
			l, err := parseLevels(setting.Check{Kind: test.kind, Warn: test.warn, Fail: test.fail}, defaults[0], defaults[1])
			if err != nil || l.warn != test.wantWarn || l.fail != test.wantFail {
				t.Errorf("%+v %v", l, err)
			}
		})
	}
	// A level that gave way is none, and not one that is always reached.
	r := newLook(t, setting.Check{Kind: setting.KindScheduler, Fail: "2s", Interval: time.Second}, "")(t.Context())
	if late := measured(t, r, "late"); r.State != 0 || late.Warn != nil || *late.Fail != 2 {
		t.Errorf("%+v", r)
	}
}
