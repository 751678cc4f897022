// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layers reads fragments whose names are their directories.
func layers(t *testing.T, dirs []string, files map[string]map[string]string) (fragments []*Fragment) {
	t.Helper()
	for _, dir := range dirs {
		f, err := ReadFragment(tree(files[dir]), dir)
		if err != nil {
			t.Fatal(err)
		}
		fragments = append(fragments, f)
	}
	return fragments
}

// told writes origins as people are told them: the place, and in brackets what it prevailed over.
func told(all map[string]Origin) map[string]string {
	text := map[string]string{}
	for key, origin := range all {
		text[key] = origin.String()
		for _, place := range origin.Replaced {
			text[key] += " [" + place.String() + "]"
		}
	}
	return text
}

func TestOriginsOfLayers(t *testing.T) {
	b, err := Assemble(layers(t, []string{"defaults", "services/web", "hosts/vm1"}, map[string]map[string]string{
		"defaults": {
			"bundle.json":              "{\"targets\": {\n\"/etc/a.conf\": {\"template\": \"a\"},\n\"/etc/gone\": {\"template\": \"a\"},\n\"/etc/back\": {\"template\": \"a\"}}}",
			"data/a.json":              "{\n\"port\": 1,\n\"up\": {\"x\": 1,\n\"y\": 2},\n\"plain\": 1,\n\"gone\": 1, \"empty\": {}, \"was\": {\"a\": 1, \"b\": 2}}",
			"data/b.json":              "{\"port\": 2}",
			"templates/a":              "1",
			"templates/p.txt.mustache": "1",
		},
		"services/web": {
			"bundle.json":     "{\"targets\": {\"/etc/a.conf\":\n {\"mode\": \"0600\"}, \"/etc/gone\": null, \"/etc/back\": null}}",
			"data/web.json":   "{\"up\": {\n\"y\": 3}, \"plain\": {\"now\": \"object\"}, \"gone\": null, \"was\": 1,\n\"list\": [{\"n\": 1},\n{\"n\": [2]}]}",
			"data/x.json":     "{\"a.b\": 1,\n\"a\": {\"b\": 2},\n\"s/l~\": " + sealed(t, "s/l~") + "}",
			"templates/p.txt": "2",
		},
		"hosts/vm1": {
			"bundle.json": "{\"targets\": {\n\"/etc/back\": {\"template\": \"a\"}}}",
			"data/h.json": "// comment\n{\"port\": 3, \"list\": [{\"n\": 1},\n{\"n\": [2]}]}",
		},
	})...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/port":       "hosts/vm1/data/h.json:2 [defaults/data/a.json:2] [defaults/data/b.json:1]",
		"/up/x":       "defaults/data/a.json:3",
		"/up/y":       "services/web/data/web.json:2 [defaults/data/a.json:4]",
		"/plain/now":  "services/web/data/web.json:2",
		"/was":        "services/web/data/web.json:2 [defaults/data/a.json:6]",
		"/empty":      "defaults/data/a.json:6",
		"/list":       "hosts/vm1/data/h.json:2 [services/web/data/web.json:3]",
		"/list/0":     "hosts/vm1/data/h.json:2",
		"/list/0/n":   "hosts/vm1/data/h.json:2",
		"/list/1":     "hosts/vm1/data/h.json:3",
		"/list/1/n":   "hosts/vm1/data/h.json:3",
		"/list/1/n/0": "hosts/vm1/data/h.json:3",
		"/a.b":        "services/web/data/x.json:1",
		"/a/b":        "services/web/data/x.json:2",
		"/s~1l~0":     "services/web/data/x.json:3",
	}
	if diff := cmp.Diff(want, told(b.Origins.Data)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	want = map[string]string{
		"/etc/a.conf": "services/web/bundle.json:1 [defaults/bundle.json:2]",
		"/etc/back":   "hosts/vm1/bundle.json:2",
	}
	if diff := cmp.Diff(want, told(b.Origins.Targets)); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	want = map[string]string{
		"a":     "defaults/templates/a",
		"p.txt": "services/web/templates/p.txt [defaults/templates/p.txt.mustache]",
	}
	if diff := cmp.Diff(want, told(b.Origins.Templates)); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	for pointer, want := range map[string]string{
		JSONPointer("s/l~"):                 "services/web/data/x.json:3",
		JSONPointer("list", "1", "n", "99"): "hosts/vm1/data/h.json:3",
		JSONPointer("up"):                   "",
		"":                                  "",
	} {
		got, ok := b.Origins.Value(pointer)
		if ok != (want != "") || got.String() != want {
			t.Errorf("Value(%q) = %s, %v, want %q", pointer, got, ok, want)
		}
	}
}

func TestOriginsArePacked(t *testing.T) {
	fragments := layers(t, []string{"defaults", "hosts/vm1"}, map[string]map[string]string{
		"defaults":  {"bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`, "templates/a": "", "data/a.json": "{\"a\": 1, \"l\": [\n1]}"},
		"hosts/vm1": {"data/h.json": "{\n\"a\": 2}"},
	})
	b, err := Assemble(fragments...)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	want := &Origins{
		Data: map[string]Origin{
			"/a":   {Place: Place{File: "hosts/vm1/data/h.json", Line: 2}},
			"/l":   {Place: Place{File: "defaults/data/a.json", Line: 1}},
			"/l/0": {Place: Place{File: "defaults/data/a.json", Line: 2}},
		},
		Targets:   map[string]Origin{"/etc/a": {Place: Place{File: "defaults/bundle.json", Line: 1}}},
		Templates: map[string]Origin{"a": {Place: Place{File: "defaults/templates/a"}}},
	}
	if diff := cmp.Diff(want, got.Origins); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again, err := Pack(got)
	if err != nil || !bytes.Equal(packed, again) {
		t.Errorf("packing what was unpacked gives other bytes, %v", err)
	}
}

func TestManyOriginsAreCut(t *testing.T) {
	var data strings.Builder
	for i := range 8_000 {
		fmt.Fprintf(&data, "\"%s-%05d\": 1,\n", strings.Repeat("k", 130), i)
	}
	files := map[string]string{
		"data/a.json": "{\"first\": " + list(1000) + ",\n" + data.String() + "}", "templates/a": "", "bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`,
	}
	packed := packRead(t, files)
	if !bytes.Equal(packed, packRead(t, files)) {
		t.Error("what is cut differs from one time to the next")
	}
	got, err := Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	o := got.Origins
	if kept := len(o.Data); kept < 5_000 || kept+o.Dropped < 8_000 || o.Dropped == 0 {
		t.Errorf("%d of the origins are kept and %d dropped", kept, o.Dropped)
	}
	if _, ok := o.Target("/etc/a"); !ok {
		t.Error("a target's origin was dropped before those of values")
	}
	if _, ok := o.Template("a"); !ok {
		t.Error("a template's origin was dropped before those of values")
	}
	// An item that was dropped is still known by its list.
	if at, ok := o.Value("/first/7"); !ok || at.String() != "data/a.json:1" {
		t.Errorf("an item is of %s, %v", at, ok)
	}
}

func packRead(t *testing.T, files map[string]string) []byte {
	t.Helper()
	b, err := Read(tree(files))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// crowd is a bundle's directory of n templates and nothing else.
func crowd(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("templates/%d", i)] = ""
	}
	return files
}

// A bundle that fits without its origins alone is packed without them.
func TestOriginsGiveWay(t *testing.T) {
	// Packed, bundle.json and the data are two more files, and the origins a third.
	for n, want := range map[int]bool{MaxFiles - 3: true, MaxFiles - 2: false} {
		got, err := Unpack(packRead(t, crowd(n)))
		if err != nil {
			t.Fatal(err)
		}
		if has := got.Origins != nil; has != want || len(got.Templates) != n {
			t.Errorf("%d of %d templates, origins %v, want %v", len(got.Templates), n, has, want)
		}
	}
}

// withOrigins is a packed bundle with this origins.json.
func withOrigins(t *testing.T, raw string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	for _, file := range [][2]string{{"data/a.json", `{"a": 1}`}, {"origins.json", raw}} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file[0], Size: int64(len(file[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func TestOriginsAreNotTrusted(t *testing.T) {
	tests := []struct {
		name, raw string
		// want is the data's origins; nil for none at all.
		want map[string]string
	}{
		{"good", `{"data": {"/a": "x/a.json:3"}}`, map[string]string{"/a": "x/a.json:3"}},
		{"empty", ``, nil},
		{"no JSON", `{`, nil},
		{"a list", `[]`, nil},
		{"other types", `{"data": {"/a": 3}}`, nil},
		{"too large", `{"data": {"/a": "x:3"}}` + strings.Repeat(" ", MaxOrigins), nil},
		{"deep", strings.Repeat(`{"data":`, 5000), nil},
		{"control characters", `{"data": {"/a": "x\u001b[2J:3", "/b\u0007": "x:3", "/c": "\u202ex:1", "/d": "x:1"}}`, map[string]string{"/d": "x:1"}},
		{"no paths", `{"data": {"/a": "/etc/passwd:3", "/b": "../x:3", "/c": "", "/d": "x:-3"}}`, map[string]string{"/d": "x:-3"}},
		{"a negative number of dropped ones", `{"dropped": -5}`, map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Unpack(withOrigins(t, tt.raw))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				if b.Origins != nil {
					t.Fatalf("got %+v", b.Origins)
				}
				if _, ok := b.Origins.Value("/a"); ok {
					t.Error("nobody knows, and a value has an origin")
				}
				return
			}
			if diff := cmp.Diff(tt.want, told(b.Origins.Data)); diff != "" || b.Origins.Dropped < 0 {
				t.Errorf("%d dropped, -want +got:\n%s", b.Origins.Dropped, diff)
			}
		})
	}
}

// What no container would take is not packed.
func TestPackRefusesWhatUnpackDoes(t *testing.T) {
	b, err := Read(tree(crowd(MaxFiles - 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(b); err == nil || err.Error() != "packing the bundle: holds more than 4096 files" {
		t.Errorf("got %v", err)
	}
}
