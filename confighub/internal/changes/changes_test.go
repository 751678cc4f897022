// SPDX-License-Identifier: AGPL-3.0-or-later

package changes_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/changes"
	"cloud4.internal/hub/confighub/internal/template"
)

// rendered is a text in which what stands between « and » is secret.
func rendered(t *testing.T, marked string) ([]byte, changes.Text) {
	t.Helper()
	var text strings.Builder
	trace := &template.Trace{}
	for rest := marked; rest != ""; {
		before, after, found := strings.Cut(rest, "«")
		start := text.Len()
		text.WriteString(before)
		trace.Spans = append(trace.Spans, template.Span{Start: start, End: text.Len()})
		if !found {
			break
		}
		secret, more, _ := strings.Cut(after, "»")
		start = text.Len()
		text.WriteString(secret)
		trace.Spans = append(trace.Spans, template.Span{Start: start, End: text.Len(), Secret: true})
		rest = more
	}
	return []byte(text.String()), changes.Of([]byte(text.String()), trace)
}

func TestChange(t *testing.T) {
	const private, public = 0o600, 0o644
	tests := []struct {
		name string
		// old is what is there; old, new and known have their secrets between « and ».
		old  string
		mode fs.FileMode
		new  string
		// known is a text that was there before.
		known string
		want  string
	}{
		{"nothing", "a\nb\n", public, "a\nb\n", "", ""},
		{"without secrets", "a\nb\nc\n", public, "a\nB\nc\n", "", "--- f\n+++ f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"no newline at the end", "a\nb", public, "a\nb\n", "", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
		{"a secret stays", "listen 80\npw «hush»\n", private, "listen 81\npw «hush»\n", "listen 80\npw «hush»\n", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n-listen 80\n+listen 81\n pw ***\n"},
		{"a secret changes", "a\npw hush;\n", private, "a\npw «new»;\n", "", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-pw ***;\n+pw ***;\n"},
		{"another line that nobody knows", "a\ntoken=hush\n", private, "a\npw «new»\n", "", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-***\n+pw ***\n"},
		{"a file for everybody", "a\ntoken=x\npw hush\n", public, "a\npw «new»\n", "", "--- f\n+++ f\n@@ -1,3 +1,2 @@\n a\n-token=x\n-pw ***\n+pw ***\n"},
		{"a present secret elsewhere in it", "a\ntoken=present\n", public, "a\n", "", "--- f\n+++ f\n@@ -1,2 +1,1 @@\n a\n-token=***\n"},
		{"the secret leaves", "a\npw hush\n", private, "a\n", "a\npw «hush»\n", "--- f\n+++ f\n@@ -1,2 +1,1 @@\n a\n-pw ***\n"},
		{"two secrets in a line", "x:1@y:2\n", private, "«a»:«b»@z:«c»\n", "", "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-***\n+***:***@z:***\n"},
		{"two secrets in a line that is like it", "1:2@z:3\n", private, "«a»:«b»@z:«c»\n", "", "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-***:***@z:***\n+***:***@z:***\n"},
		{"a secret of several lines", "k: |\n one\n two\nend\n", private, "k: |\n «one\n three»\nend!\n", "", "--- f\n+++ f\n@@ -1,4 +1,4 @@\n k: |\n  ***\n-***\n-***\n+***\n+end!\n"},
		{"a secret and nothing else", "hush\n", private, "«new»\n", "", "f: differs (secret)\n"},
		{"other line ends", "a\r\npw x\r\n", private, "a\npw «y»\n", "", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n-a·\n-pw ***·\n+a\n+pw ***\n"},
		{"what steers a terminal", "a\n", public, "a\x1b[2J\u202e\tb\n", "", "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-a\n+a·[2J·\tb\n"},
		{"binary", "a\x00b", private, "a", "", "f: differs (binary)\n"},
		{"an empty secret", "pw \n", private, "pw «»\n", "", ""},
		{"a literal of stars", "pw ***\n", private, "pw «new»\n", "", "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-pw ***\n+pw ***\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old, _ := rendered(t, tt.old)
			new, text := rendered(t, tt.new)
			c := changes.Change{
				Name: "f", Old: changes.File{Exists: true, Bytes: old, Mode: tt.mode}, New: changes.File{Exists: true, Bytes: new, Mode: tt.mode},
				Text: text, Redact: []string{"present"},
			}
			if tt.known != "" {
				_, known := rendered(t, tt.known)
				c.Known = append(c.Known, known)
			}
			var got strings.Builder
			differs, err := c.Write(&got)
			if err != nil || differs != (tt.want != "") {
				t.Errorf("differs: %v, %v", differs, err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	file := func(text string, mode fs.FileMode, owner string) changes.File {
		return changes.File{Exists: true, Bytes: []byte(text), Mode: mode, Owner: owner}
	}
	for _, tt := range []struct {
		name   string
		change changes.Change
		want   string
	}{
		{"new", changes.Change{New: file("a\n", 0o644, ""), Text: changes.Plain([]byte("a\n"))}, "--- /dev/null\n+++ f\n@@ -0,0 +1,1 @@\n+a\n"},
		{"new and empty", changes.Change{New: file("", 0o644, "")}, "--- /dev/null\n+++ f\n"},
		{"goes", changes.Change{Old: file("a\n", 0o644, "0:0")}, "--- f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n"},
		{"a secret goes", changes.Change{Old: file("a\n", 0o600, ""), Known: []changes.Text{changes.Secret([]byte("a\n"))}}, "f: goes (secret)\n"},
		{"a secret is new", changes.Change{New: file("a\n", 0o600, ""), Text: changes.Secret([]byte("a\n"))}, "f: is new (secret)\n"},
		{"mode and owner", changes.Change{Old: file("a", 0o644, "0:0"), New: file("a", 0o600, "33:33"), Text: changes.Plain([]byte("a"))},
			"f: mode 0644 becomes 0600\nf: owner 0:0 becomes 33:33\n"},
		{"an owner that is not compared", changes.Change{Old: file("a", 0o644, "0:0"), New: file("a", 0o644, ""), Text: changes.Plain([]byte("a"))}, ""},
		{"lines in another form", changes.Change{Old: file("A=x\nB=1\nC=gone\n", 0o600, ""), New: file("A=y\nB=1\n", 0o600, ""),
			Text: changes.Lines([]string{"A=y", "B=1"}, []string{"A=***", "B=1"})}, "--- f\n+++ f\n@@ -1,3 +1,2 @@\n-A=***\n+A=***\n B=1\n-***\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change.Name = "f"
			var got strings.Builder
			if _, err := tt.change.Write(&got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzOld holds that no line of an old text is shown that a secret could be in.
func FuzzOld(f *testing.F) {
	f.Add("a\npw hush\n", "a\npw «x»\n", "")
	f.Add("hush\r\n\nhush=1", "«a»b«c»\n", "hush «y»\n")
	f.Fuzz(func(t *testing.T, old, new, known string) {
		if strings.Contains(new+known, "hush") {
			return
		}
		bytes, text := rendered(t, new)
		_, other := rendered(t, known+"\n«x»y")
		c := changes.Change{Name: "f", Old: changes.File{Exists: true, Bytes: []byte(old)}, New: changes.File{Exists: true, Bytes: bytes}, Text: text, Known: []changes.Text{other}}
		var got strings.Builder
		if _, err := c.Write(&got); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(got.String(), "hush") {
			t.Fatalf("shows the old secret:\n%s", &got)
		}
	})
}

func TestColour(t *testing.T) {
	var got strings.Builder
	if err := changes.Colour(&got, []byte("--- f\n+++ f\n@@ -1 +1 @@\n-a\n+b\n c\n")); err != nil {
		t.Fatal(err)
	}
	if want := "--- f\n+++ f\n\x1b[36m@@ -1 +1 @@\x1b[0m\n\x1b[31m-a\x1b[0m\n\x1b[32m+b\x1b[0m\n c\n"; got.String() != want {
		t.Errorf("got %q", &got)
	}
}
