// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Fragment is one layer of a bundle: the same files, of which none need be there. It is judged when it is
// assembled with the others.
type Fragment struct {
	// name goes before the names of its files in messages and origins; it may be empty.
	name      string
	manifest  *document
	data      []*document
	templates map[string][]byte
	schema    *document
}

// Empty reports whether the fragment holds no file.
func (f *Fragment) Empty() bool {
	return f.manifest == nil && len(f.data) == 0 && len(f.templates) == 0 && f.schema == nil
}

// Summary says what is in the fragment: "2 targets, 1 data file, 3 templates, a schema"; "" for nothing.
func (f *Fragment) Summary() string {
	var parts []string
	count := func(n int, noun string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+noun)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, noun))
		}
	}
	if f.manifest != nil {
		object, _ := f.manifest.value.(map[string]any)
		targets, _ := object["targets"].(map[string]any)
		count(len(targets), "target")
	}
	count(len(f.data), "data file")
	count(len(f.templates), "template")
	if f.schema != nil {
		parts = append(parts, "a schema")
	}
	return strings.Join(parts, ", ")
}

// path is what people are told of a file in here.
func (f *Fragment) path(file string) string { return path.Join(f.name, file) }

// Temporary reports whether a file or directory of this name is passed over wherever a bundle is read from a disk:
// hidden ones, and what editors leave behind.
func Temporary(name string) bool {
	ext := path.Ext(name)
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || ext == ".swp" || ext == ".tmp"
}

// ReadFragment reads the fragment that lies in fsys, ignoring files of other names and temporary ones. Name goes before the file
// names in problems ("stacks/shop"). A link or special file is a problem; so is breaking a limit.
func ReadFragment(fsys fs.FS, name string) (*Fragment, error) {
	files, problems := collect(fsys, name)
	if len(problems) > 0 {
		return nil, problems.err()
	}
	return parseFragment(files, name)
}

// collect reads the files of a fragment, within the limits.
func collect(fsys fs.FS, name string) (map[string][]byte, Problems) {
	files := map[string][]byte{}
	var problems Problems
	report := func(file, format string, args ...any) {
		problems = append(problems, Problem{File: path.Join(name, file), Message: fmt.Sprintf(format, args...)})
	}
	total := 0
	for _, root := range []string{manifestFile, schemaFile, dataDir, templatesDir} {
		err := fs.WalkDir(fsys, root, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil && file == root && errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				report(file, "%v", err)
				return nil
			case entry.IsDir():
				if file == dataDir || file == templatesDir || strings.HasPrefix(file, templatesDir+"/") && !Temporary(entry.Name()) {
					return nil
				}
				return fs.SkipDir
			case Temporary(entry.Name()), !ours(file):
				return nil
			case !entry.Type().IsRegular():
				report(file, "is a %s: a bundle holds regular files only", describe(entry.Type()))
				return nil
			case !validName(file):
				report(file, "has a name that a bundle cannot hold")
				return nil
			case len(files) == MaxFiles:
				report(file, "is one more than %d files", MaxFiles)
				return fs.SkipAll
			}
			raw, err := readLimited(fsys, file, MaxUnpacked-total)
			if err != nil {
				report(file, "%v", err)
				return nil
			}
			total += len(raw)
			files[file] = raw
			return nil
		})
		if err != nil {
			report(root, "%v", err)
		}
	}
	return files, problems
}

// ours reports whether the file of this path is part of a bundle.
func ours(file string) bool {
	dir, base := path.Split(file)
	switch {
	case file == manifestFile, file == schemaFile:
		return true
	case dir == dataDir+"/":
		return path.Ext(base) == ".json"
	}
	return strings.HasPrefix(file, templatesDir+"/")
}

func describe(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "link"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

func readLimited(fsys fs.FS, file string, limit int) ([]byte, error) {
	f, err := fsys.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("makes the bundle larger than %d bytes", MaxUnpacked)
	}
	return raw, nil
}

// parseFragment parses the collected files.
func parseFragment(files map[string][]byte, name string) (*Fragment, error) {
	f := &Fragment{name: name, templates: map[string][]byte{}}
	var problems Problems
	space := newRoom()
	parse := func(file string) *document {
		doc, bad := parseDocument(path.Join(name, file), files[file], space)
		problems = append(problems, bad...)
		return doc
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		switch {
		case !ours(file):
		case file == manifestFile:
			f.manifest = parse(file)
		case file == schemaFile:
			f.schema = parse(file)
		case strings.HasPrefix(file, dataDir+"/"):
			if doc := parse(file); doc != nil {
				problems = append(problems, judgeSealed(doc)...)
				f.data = append(f.data, doc)
			}
		default:
			f.templates[strings.TrimPrefix(file, templatesDir+"/")] = files[file]
		}
	}
	for file := range f.templates {
		if _, both := f.templates[file+Extension]; both {
			problems = append(problems, Problem{File: path.Join(name, templatesDir, file), Message: "stands beside " + file + Extension + ": remove one"})
		}
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// Assemble lays the fragments over each other, first to last, and judges the result: templates replace by
// name, targets merge by path and data as a whole (RFC 7396), every schema must hold.
// The bundle knows where all of it came from.
func Assemble(fragments ...*Fragment) (*Bundle, error) {
	b, err := assemble(fragments...)
	if err != nil {
		return nil, err
	}
	b.Origins = originsOf(b, fragments)
	return b, nil
}

func assemble(fragments ...*Fragment) (*Bundle, error) {
	b := &Bundle{Data: map[string]any{}, Templates: map[string][]byte{}}
	raw := newRawManifest()
	origins := map[string]origin{}
	var problems Problems
	var schemas []*document
	for _, f := range fragments {
		if f.manifest != nil {
			problems = append(problems, raw.merge(f.manifest)...)
		}
		for _, doc := range f.data {
			problems = append(problems, b.mergeData(doc, origins)...)
		}
		for file, text := range f.templates {
			delete(b.Templates, file+Extension)
			delete(b.Templates, strings.TrimSuffix(file, Extension))
			b.Templates[file] = text
		}
		if f.schema != nil {
			schemas = append(schemas, f.schema)
		}
	}
	j := judge{raw: raw, templates: b.Templates}
	b.Manifest = j.manifest()
	problems = append(problems, j.problems...)
	for _, doc := range schemas {
		problems = append(problems, checkSchema(doc, b.Data, origins)...)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	var err error
	b.Schema, err = joinSchemas(schemas)
	return b, err
}

func (b *Bundle) mergeData(doc *document, origins map[string]origin) Problems {
	object, ok := doc.value.(map[string]any)
	if !ok {
		return Problems{{File: doc.file, Line: doc.lines[""], Message: "must be a JSON object, is " + kindOf(doc.value)}}
	}
	b.Data = MergePatch(b.Data, object)
	for key, line := range doc.lines {
		origins[key] = origin{doc.file, line}
	}
	return nil
}
