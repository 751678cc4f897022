// SPDX-License-Identifier: AGPL-3.0-or-later

package template

// Tag is one tag of a template file, as it is written.
type Tag struct {
	Kind TagKind
	// Name is the data path, or the partial.
	Name string
	At   Position
	// Within are the names of the open sections around it in the file, outermost first.
	Within []string
}

// TagKind is what a tag does.
type TagKind byte

// Kinds of tags. Comments and changed delimiters are none.
const (
	TagVariable TagKind = TagKind(variable)
	TagRaw      TagKind = TagKind(raw)
	TagSection  TagKind = TagKind(section)
	TagInverted TagKind = TagKind(inverted)
	TagPartial  TagKind = TagKind(partial)
)

// Tags lists the tags of one file, without those that close a section. What is wrong with the file, [Lint] says.
func Tags(file string, src []byte) (tags []Tag) {
	tokens, _ := tokenize(file, src, "")
	var open []string
	for _, t := range tokens {
		switch t.kind {
		case text:
			continue
		case closing:
			open = open[:max(0, len(open)-1)]
			continue
		}
		tags = append(tags, Tag{Kind: TagKind(t.kind), Name: t.text, At: t.at, Within: open[:len(open):len(open)]})
		if t.kind == section || t.kind == inverted {
			open = append(open[:len(open):len(open)], t.text)
		}
	}
	return tags
}
