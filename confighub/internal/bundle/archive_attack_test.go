// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// headerAlone is an archive of one header, whose bytes never come.
func headerAlone(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if err := errors.Join(tar.NewWriter(zw).WriteHeader(&h), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Nothing but regular files under clean names comes out of an archive, whatever kind, name or size its headers tell.
func TestUnpackRefusesHostileHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		packed []byte
		want   string
	}{
		"hard link": {archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "data/a.json", Linkname: "/etc/shadow"}), `"data/a.json": is not a regular file (type '1')`},
		"hard link to an entry": {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "data/a.json", Linkname: "{}"}, tar.Header{Typeflag: tar.TypeLink, Name: "data/b.json", Linkname: "data/a.json"}),
			`"data/b.json": is not a regular file (type '1')`},
		"character device": {archive(t, tar.Header{Typeflag: tar.TypeChar, Name: "data/a.json", Devmajor: 1, Devminor: 3}), `"data/a.json": is not a regular file (type '3')`},
		"block device":     {archive(t, tar.Header{Typeflag: tar.TypeBlock, Name: "data/a.json", Devmajor: 8}), `"data/a.json": is not a regular file (type '4')`},
		"pipe":             {archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "data/a.json"}), `"data/a.json": is not a regular file (type '6')`},
		"renamed by an extended header": {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/" + strings.Repeat("a/../", 60) + "x", Format: tar.FormatPAX}),
			`"templates/` + strings.Repeat("a/../", 60) + `x": is not a clean relative path`},
		"parent":     {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: ".."}), `"..": is not a clean relative path`},
		"backslash":  {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: `templates\..\x`}), `"templates\\..\\x": is not a clean relative path`},
		"line feed":  {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/a\nb"}), `"templates/a\nb": is not a clean relative path`},
		"terminal":   {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/\x1b[2J"}), `"templates/\x1b[2J": is not a clean relative path`},
		"long name":  {archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/" + strings.Repeat("n", 300)}), `"templates/` + strings.Repeat("n", 300) + `": is not a clean relative path`},
		"oversized":  {headerAlone(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/a", Size: MaxUnpacked + 1}), `"templates/a": makes the bundle larger than 67108864 bytes`},
		"enormous":   {headerAlone(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/a", Size: 1 << 60}), `"templates/a": makes the bundle larger than 67108864 bytes`},
		"never come": {headerAlone(t, tar.Header{Typeflag: tar.TypeReg, Name: "templates/a", Size: MaxUnpacked}), `"templates/a": unexpected EOF`},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Unpack(tt.packed)
			runtime.ReadMemStats(&after)
			if err == nil || err.Error() != "unpacking the bundle: "+tt.want {
				t.Errorf("got %v", err)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 8<<20 {
				t.Errorf("refusing %d bytes allocates %d", len(tt.packed), cost)
			}
		})
	}
}

// A bomb costs what the limit lets through, and no more, however well it packs.
func TestBombIsCutAtTheRatio(t *testing.T) {
	for _, size := range []int{4 << 20, 60 << 20} {
		var files []tar.Header
		for i := range 4 {
			files = append(files, tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("templates/%d", i), Linkname: strings.Repeat("\x00", size/4)})
		}
		packed := archive(t, files...)
		_, err := Unpack(packed)
		want := fmt.Sprintf("unpacking the bundle: unpacks to more than %d bytes, from %d packed", len(packed)*maxRatio+1<<20, len(packed))
		if err == nil || err.Error() != want {
			t.Errorf("%d bytes of zeros: got %v, want %s", size, err, want)
		}
	}
}
