// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"os"
	"testing"

	"cloud4.internal/hub/internal/genesistest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "service" {
		os.Exit(serviceMain(os.Args[2:]))
	}
	os.Exit(genesistest.Main(m))
}
