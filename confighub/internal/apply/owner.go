// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// ownerUID is who a new file in d belongs to: who makes it.
func (d *dir) ownerUID() uint32 {
	if euid := os.Geteuid(); euid != 0 {
		return uint32(euid)
	}
	return d.uid
}

func (d *dir) ownerGID() uint32 {
	if os.Geteuid() != 0 {
		return uint32(os.Getegid())
	}
	return d.gid
}

// lookupOwner reads "user" or "user:group", names or numbers. Without a group it is the user's own, or, for
// a number that no user has, the one given.
func lookupOwner(owner string, gid uint32) (uint32, uint32, error) {
	name, group, hasGroup := strings.Cut(owner, ":")
	uid, err := strconv.ParseUint(name, 10, 32)
	if u, lookupErr := user.Lookup(name); err != nil {
		if lookupErr != nil {
			return 0, 0, fmt.Errorf("no user %s in this container", name)
		}
		uid, _ = strconv.ParseUint(u.Uid, 10, 32)
		own, _ := strconv.ParseUint(u.Gid, 10, 32)
		gid = uint32(own)
	}
	if !hasGroup {
		return uint32(uid), gid, nil
	}
	number, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, 0, fmt.Errorf("no group %s in this container", group)
		}
		number, _ = strconv.ParseUint(g.Gid, 10, 32)
	}
	return uint32(uid), uint32(number), nil
}
