// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// deadNames are the files of dead letters, the oldest letters first.
var deadNames = []string{deadName + ".1", deadName}

// CountLetters says how many dead letters are kept in dir; "": none are.
func CountLetters(dir string) (n int, err error) {
	if dir == "" {
		return 0, nil
	}
	buf := make([]byte, 64<<10)
	for _, name := range deadNames {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, err
		}
		for err == nil {
			var got int
			got, err = f.Read(buf)
			n += bytes.Count(buf[:got], []byte{'\n'})
		}
		f.Close()
		if !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	return n, nil
}
