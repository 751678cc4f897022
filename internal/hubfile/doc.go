// SPDX-License-Identifier: AGPL-3.0-or-later

// Package hubfile reads the settings of the hubs and knows where each value came from.
//
// # Input
//
// The settings file (/etc/hub/hub.json) is one JSON object with a section for each hub. Comments and trailing
// commas are fine (JWCC, https://nigeltao.github.io/blog/2021/json-with-commas-comments.html). The drop-ins beside it,
// hub.d/*.json without hidden files, are merged into it in the order of their names (RFC 7396: objects merge, null
// removes, everything else replaces). A settings file that does not exist, or holds nothing, is an empty one; one that cannot be
// read is an error. null is the same as leaving the key out. The key "$schema" is for editors and means nothing here.
//
// A scalar a.b that is not below a map can also be set by the variable HUB_A_B, or by HUB_A_B_FILE, which names a
// file holding it (one newline at its end is dropped). Environment goes over drop-in over file. An empty variable is an unset one, as
// compose files make them; a variable and its _FILE together are an error. A variable HUB_* that nothing knows is an error when it is within two
// letters of a known name (it is a slip), else a warning. Variables of sections that were not asked for are left to their hub.
//
// # Shape
//
// [Load] decodes into structs. Every exported field has a tag json:"name" (or "-") and may have
//
//	default:"10s"    its value when nothing sets it; for a list, words separated by blanks
//	min:"1s"         smallest value; for strings the number of characters, for lists and maps of entries
//	max:"1h"         largest, in the same way
//	enum:"a|b"       the values allowed; for lists and maps, of each entry
//	doc:"one line"   what it is, for the schema
//	removed:"use b"  a key of the past: it is accepted, does nothing, and warns
//
// Fields are string, bool, any int or uint, float32 and float64, [time.Duration] ("10s"), [Bytes] ("64MiB"),
// types with UnmarshalText (a string), structs, pointers (nil: unset), slices, maps keyed by string (entries have the defaults of
// their type; a null removes one), any and [encoding/json.RawMessage]. Other types are a mistake in the program and panic.
//
// # Errors
//
// Everything that is wrong is told at once, sorted by file and line. Unknown keys, keys given twice in one object,
// wrong types and values out of range are errors. A rule of more than one field is a method, see [Checker].
//
// # Limits
//
// Regular files only, 1 MiB each, 64 KiB for the value in a HUB_A_B_FILE; 64 drop-ins, 32 levels of nesting.
//
// Left out: watching for changes (settings are read once, at start), writing settings, and every meaning: that is each hub's.
package hubfile
