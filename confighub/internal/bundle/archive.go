// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// maxRatio bounds how much larger than the packed bytes the unpacked may be; text packs 3 to 20 fold, and the
// first megabyte is free.
const maxRatio = 200

// Pack writes b as a tar.gz: the merged data as one file, no times, no owners, names sorted, so that equal
// bundles of equal origins are equal bytes. Origins for which there is no room are left out. What Unpack would refuse
// for its size is an error.
func Pack(b *Bundle) ([]byte, error) {
	files, err := packedFiles(b)
	if err != nil {
		return nil, err
	}
	origins, err := b.Origins.marshal()
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", originsFile, err)
	}
	if origins != nil && len(origins) <= MaxOrigins {
		files[originsFile] = origins
		if packed, err := pack(files); err == nil {
			return packed, nil
		}
		delete(files, originsFile)
	}
	return pack(files)
}

// packedFiles is what a packed bundle holds, but for its origins.
func packedFiles(b *Bundle) (map[string][]byte, error) {
	files := map[string][]byte{}
	manifest, err := marshal(b.Manifest)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", manifestFile, err)
	}
	data, err := marshal(b.Data)
	if err != nil {
		return nil, fmt.Errorf("packing the data: %w", err)
	}
	files[manifestFile] = manifest
	files[dataDir+"/data.json"] = data
	if b.Schema != nil {
		files[schemaFile] = b.Schema
	}
	// Fragments that have room each for itself may have none together.
	space := newRoom()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, message := space.take(files[name]); message != "" {
			return nil, fmt.Errorf("packing the bundle: %s %s", name, message)
		}
	}
	for name, text := range b.Templates {
		files[templatesDir+"/"+name] = text
	}
	return files, nil
}

func pack(files map[string][]byte) ([]byte, error) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatPAX}
		if err := tw.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
		if _, err := tw.Write(files[name]); err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, fmt.Errorf("packing the bundle: %w", err)
	}
	if packed.Len() > MaxPacked {
		return nil, fmt.Errorf("packing the bundle: is %d bytes, more than %d", packed.Len(), MaxPacked)
	}
	// A bundle of more, or more alike, files than any container takes is found here and not there.
	if _, err := unpack(packed.Bytes()); err != nil {
		return nil, fmt.Errorf("packing the bundle: %w", err)
	}
	return packed.Bytes(), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// Unpack reads a tar.gz of a bundle, trusting nothing in it.
func Unpack(packed []byte) (*Bundle, error) {
	files, err := unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("unpacking the bundle: %w", err)
	}
	f, err := parseFragment(files, "")
	if err != nil {
		return nil, err
	}
	b, err := assemble(f)
	if err != nil {
		return nil, err
	}
	b.Origins = readOrigins(files[originsFile])
	return b, nil
}

func unpack(packed []byte) (map[string][]byte, error) {
	if len(packed) > MaxPacked {
		return nil, fmt.Errorf("is %d bytes, more than %d", len(packed), MaxPacked)
	}
	source := bytes.NewReader(packed)
	zr, err := gzip.NewReader(source)
	if err != nil {
		return nil, err
	}
	zr.Multistream(false)
	// The tar's own blocks come on top of the files: a header and its padding each, and the end marker.
	limit := min(MaxUnpacked+MaxFiles*1536, len(packed)*maxRatio+1<<20)
	stream := &io.LimitedReader{R: zr, N: int64(limit) + 1}
	files, err := untar(tar.NewReader(stream))
	if err == nil {
		// The checksum stands at the end of the stream, behind the padding that tar does not read.
		_, err = io.Copy(io.Discard, stream)
	}
	switch {
	case stream.N == 0:
		return nil, fmt.Errorf("unpacks to more than %d bytes, from %d packed", limit, len(packed))
	case err != nil:
		return nil, err
	case source.Len() > 0:
		return nil, fmt.Errorf("%d bytes stand after the end", source.Len())
	}
	return files, nil
}

func untar(tr *tar.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	total := 0
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case header.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%q: is not a regular file (type %q)", header.Name, header.Typeflag)
		case !validName(header.Name):
			return nil, fmt.Errorf("%q: is not a clean relative path", header.Name)
		case files[header.Name] != nil:
			return nil, fmt.Errorf("%q: stands twice", header.Name)
		case len(files) == MaxFiles:
			return nil, fmt.Errorf("holds more than %d files", MaxFiles)
		case header.Size > int64(MaxUnpacked-total):
			return nil, fmt.Errorf("%q: makes the bundle larger than %d bytes", header.Name, MaxUnpacked)
		}
		raw, err := io.ReadAll(io.LimitReader(tr, int64(MaxUnpacked-total)))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", header.Name, err)
		}
		total += len(raw)
		if !ours(header.Name) && header.Name != originsFile {
			raw = nil
		}
		files[header.Name] = append([]byte{}, raw...)
	}
}
