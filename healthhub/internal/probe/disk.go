// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"syscall"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// What a disk's levels are where nobody says. A part alone would warn of a large disk with plenty left.
const (
	diskWarn, diskFail   = "85% 50GB", "95% 10GB"
	inodeWarn, inodeFail = "85%", "95%"
)

// stReadonly is ST_RDONLY of statfs(2), which package syscall does not name.
const stReadonly = 1

// sealed are the numbers (statfs(2)) of file systems that are as full as they were made: squashfs, erofs, iso9660, udf,
// cramfs, romfs.
var sealed = []uint32{0x73717368, 0xE0F5E1E2, 0x9660, 0x15013346, 0x28cd3d45, 0x7275}

// diskLook makes the look of kind disk. Used and whole are df's: what is kept back for root counts as neither used
// nor free. That a mount is read-only is said, and no more: others may write to the same file system by another mount.
func diskLook(s setting.Check, root tree) (Func, error) {
	path, on := onPath(s)
	levels, err := parseLevels(s, diskWarn, diskFail)
	if err != nil {
		return nil, err
	}
	return steady(on, func() Result {
		var st syscall.Statfs_t
		if err := syscall.Statfs(root.path(path), &st); err != nil {
			return unstat(on, err)
		}
		unit := uint64(st.Frsize)
		used, free := (st.Blocks-min(st.Bfree, st.Blocks))*unit, st.Bavail*unit
		whole := used + free
		if whole == 0 {
			return unsupported("%s: its file system has no size", on)
		}
		part := float64(used) / float64(whole)
		text := fmt.Sprintf("%s: %s of %s used, %s left", on, percent(part), size(whole), size(free))
		values := []health.Value{
			levels.value("used", part, float64(whole)), value("free", "By", float64(free)), value("size", "By", float64(whole)),
		}
		if st.Flags&stReadonly != 0 {
			text += ", mounted read-only"
		}
		if slices.Contains(sealed, uint32(st.Type)) {
			return Result{State: health.Pass, Text: health.CleanText(text), Values: values}
		}
		return levels.judge(text, part, int64(min(free, math.MaxInt64)), values)
	}), nil
}

// inodeLook makes the look of kind inode: files that a file system can still take.
func inodeLook(s setting.Check, root tree) (Func, error) {
	path, on := onPath(s)
	levels, err := parseLevels(s, inodeWarn, inodeFail)
	if err != nil {
		return nil, err
	}
	return steady(on, func() Result {
		var st syscall.Statfs_t
		if err := syscall.Statfs(root.path(path), &st); err != nil {
			return unstat(on, err)
		}
		if st.Files == 0 { // btrfs, vfat and others make inodes as they need them
			return unsupported("%s: its file system does not count inodes", on)
		}
		part := float64(st.Files-min(st.Ffree, st.Files)) / float64(st.Files)
		text := fmt.Sprintf("%s: %s of %s used, %s left", on, percent(part), plural(st.Files, "inode", "inodes"), strconv.FormatUint(st.Ffree, 10))
		return levels.judge(text, part, int64(min(st.Ffree, math.MaxInt64)), []health.Value{
			levels.value("used", part, float64(st.Files)), value("free", "1", float64(st.Ffree)), value("size", "1", float64(st.Files)),
		})
	}), nil
}

func onPath(s setting.Check) (path, name string) {
	if s.Path == "" {
		return "/", "/"
	}
	return s.Path, s.Path
}

// unstat is the result of a path whose file system cannot be asked. What is not there is a failure: somebody
// wants it to be, and a disk that is not mounted leaves an empty directory at best.
func unstat(path string, err error) Result {
	switch err {
	case syscall.ENOENT, syscall.ENOTDIR:
		return fail("%s does not exist", path)
	case syscall.EACCES, syscall.EPERM:
		return notForUs(path, err)
	case syscall.ENOSYS:
		return unsupported("%s: its file system does not say how full it is", path)
	}
	return fail("%s: %v", path, err) // EIO, ESTALE, ENOTCONN: the storage is in trouble
}
