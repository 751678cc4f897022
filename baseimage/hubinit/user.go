// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// account is whom the service runs as.
type account struct {
	uid, gid uint32
	groups   []uint32
	home     string // "": no entry in the password file
}

// lookupAccount reads "uid[:gid]" or "name[:group]" against the container's own
// password and group files, as Docker does with USER: an uid without entry has
// group 0, and a group that is named stands alone, without supplementary ones.
func lookupAccount(spec, passwd, group string) (account, error) {
	who, groupSpec, hasGroup := strings.Cut(spec, ":")
	var a account
	name := who
	entry := findEntry(passwd, who, 7)
	switch uid, err := strconv.ParseUint(who, 10, 32); {
	case entry != nil:
		u, err1 := strconv.ParseUint(entry[2], 10, 32)
		g, err2 := strconv.ParseUint(entry[3], 10, 32)
		if err1 != nil || err2 != nil {
			return a, fmt.Errorf("the entry of %q in %s has no numeric uid and gid", who, passwd)
		}
		a.uid, a.gid, a.home, name = uint32(u), uint32(g), entry[5], entry[0]
	case err == nil:
		a.uid = uint32(uid)
	default:
		return a, fmt.Errorf("no user %q in %s", who, passwd)
	}
	if !hasGroup {
		a.groups = memberships(group, name)
		return a, nil
	}
	if gid, err := strconv.ParseUint(groupSpec, 10, 32); err == nil {
		a.gid = uint32(gid)
		return a, nil
	}
	entry = findEntry(group, groupSpec, 4)
	if entry == nil {
		return a, fmt.Errorf("no group %q in %s", groupSpec, group)
	}
	gid, err := strconv.ParseUint(entry[2], 10, 32)
	if err != nil {
		return a, fmt.Errorf("the entry of %q in %s has no numeric gid", groupSpec, group)
	}
	a.gid = uint32(gid)
	return a, nil
}

// credential is nil when the account is hubinit's own already.
func (a account) credential() *syscall.Credential {
	if int(a.uid) == os.Getuid() && int(a.gid) == os.Getgid() && len(a.groups) == 0 {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}

// findEntry finds the line whose name, or whose number in the third field, is
// key. A name wins over a number (passwd(5), group(5)).
func findEntry(path, key string, fields int) (found []string) {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < fields {
			continue
		}
		if f[0] == key {
			return f
		}
		if f[2] == key && found == nil {
			found = f
		}
	}
	return found
}

// memberships are the groups that list the user by name.
func memberships(path, name string) (gids []uint32) {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if gid, err := strconv.ParseUint(f[2], 10, 32); member == name && err == nil {
				gids = append(gids, uint32(gid))
			}
		}
	}
	return gids
}
