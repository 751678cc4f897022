// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/parse"
)

func TestSourcesSayWhatTheySpeak(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	fmt.Fprint(w, "starting\n{\"msg\":\"a\"}\n{\"msg\":\"b\"}\n")
	if err := p.step(b.see(p)); err != nil {
		t.Fatal(err)
	}
	if st := p.Stat(); st.Format != "json" || st.Misfits != 0 {
		t.Errorf("the pipe says %q, %d misfits", st.Format, st.Misfits)
	}

	path := filepath.Join(t.TempDir(), "a.log")
	f, err := OpenFiles(b.sh, []FileSet{{Name: "app", Pattern: path, Parse: parse.Options{Loc: time.UTC, Format: "access"}}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "{\"msg\":\"a\"}\n192.0.2.1 - - [21/Nov/2026:07:55:42 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"\nx\n")
	f.lookNow(false)
	if st := f.Stats()[0]; st.Format != "text" || st.Misfits != 2 {
		t.Errorf("the file says %q, %d misfits", st.Format, st.Misfits)
	}
	do(t, os.Truncate(path, 0)) // a generation of its own
	write(t, path, "y\n")
	f.lookNow(false)
	if st := f.Stats()[0]; st.Misfits != 3 {
		t.Errorf("after a truncation the file says %d misfits", st.Misfits)
	}
}
