// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/hubfile"
)

// fileLook makes the look of kind file. Age is from the last change of the content to now, by the wall clock,
// which is the one that made it.
func fileLook(s setting.Check) Func {
	path, maxAge, minSize, maxSize := s.Path, s.MaxAge, s.MinSize, s.MaxSize
	return func(context.Context) Result {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fail("%s does not exist", path)
		}
		if err != nil {
			return blind("%v", err)
		}
		size, age := hubfile.Bytes(info.Size()), time.Since(info.ModTime()).Round(time.Second)
		switch {
		case maxAge > 0 && age > maxAge:
			return fail("%s is %s old, at most %s is allowed", path, age, maxAge)
		case minSize != nil && size < *minSize:
			return fail("%s has %v, at least %v is wanted", path, size, *minSize)
		case maxSize != nil && size > *maxSize:
			return fail("%s has %v, at most %v is allowed", path, size, *maxSize)
		}
		return pass("%s has %v and is %s old", path, size, age)
	}
}
