// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"path/filepath"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

// longestHostCheck leaves room for the prefix host/ in a check's name.
const longestHostCheck = health.MaxCheckName - len("host/")

// checkServe reports what is wrong with the keys of serve alone.
func (s *Settings) checkServe(report func(key, message string)) {
	if s.HostRoot != "" && !filepath.IsAbs(s.HostRoot) {
		report("host_root", fmt.Sprintf("must be absolute, got %q", s.HostRoot))
	}
	for name, check := range s.HostChecks {
		key := hubfile.Join("host_checks", name)
		err := health.CheckName(health.KindCheck, name)
		switch {
		case err != nil:
			report(key, err.Error())
		case len(name) > longestHostCheck:
			report(key, fmt.Sprintf("must have at most %d characters", longestHostCheck))
		case check.Kind == KindPush || check.Kind == KindProcess:
			report(key+".kind", "must be one that looks at the machine, got "+check.Kind)
		case len(check.DependsOn) > 0:
			report(key+".depends_on", "means nothing for a check of the machine")
		}
	}
}
