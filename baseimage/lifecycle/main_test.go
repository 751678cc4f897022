// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"cloud4.internal/hub/internal/genesistest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "service" {
		os.Exit(serviceMain(os.Args[2:]))
	}
	// The tests wait for timers far more than they compute: as many at a time as cores would take minutes.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(genesistest.Main(m))
}
