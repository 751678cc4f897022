// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
)

// rotate moves the files of a peer up by one; the last one goes.
func (s *store) rotate(path string) error {
	if err := s.shift(path); err != nil {
		return err
	}
	if s.pack {
		_ = s.compress(path + ".1") // what cannot be packed stays as it is: no reason to refuse records
	}
	return nil
}

func (s *store) shift(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, form := range []string{"", packed} {
		last := fmt.Sprintf("%s.%d%s", path, s.keep, form)
		info, err := os.Stat(last)
		if err != nil {
			continue
		}
		if err := os.Remove(last); err != nil {
			return err
		}
		s.used -= info.Size()
	}
	for i := s.keep - 1; i >= 0; i-- {
		for _, form := range []string{"", packed} {
			from := path
			if i > 0 {
				from = fmt.Sprintf("%s.%d%s", path, i, form)
			} else if form != "" {
				continue
			}
			if err := os.Rename(from, fmt.Sprintf("%s.%d%s", path, i+1, form)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// compress replaces an old file by its packed form. The peer waits for it: some 50 ms for 16 MiB.
func (s *store) compress(path string) error {
	temp := path + packed + unfinished
	size, err := gzipTo(temp, path)
	if err != nil {
		return errors.Join(fmt.Errorf("compressing %s: %w", path, err), os.Remove(temp))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil { // it had to make room meanwhile
		return os.Remove(temp)
	}
	if err := os.Rename(temp, path+packed); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, os.Remove(path+packed))
	}
	s.used += size - info.Size()
	return os.Remove(path)
}

func gzipTo(to, from string) (size int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return 0, err
	}
	gz, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return 0, errors.Join(err, out.Close())
	}
	_, err = io.Copy(gz, in)
	err = errors.Join(err, gz.Close(), out.Sync())
	info, statErr := out.Stat()
	if err = errors.Join(err, statErr, out.Close()); err != nil {
		return 0, err
	}
	return info.Size(), nil
}
