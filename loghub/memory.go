// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"strconv"
	"strings"
)

// memoryShare is the part of the container's memory limit that a spool in memory
// may take: its pages count against the service's own.
const memoryShare = 8

// minMemoryQuota keeps a spool in memory usable at all: two segments.
const minMemoryQuota = 2 << 20

// maxMemoryFirst bounds what waits in memory of a spool that has a disk.
const maxMemoryFirst = 16 << 20

// memoryQuota bounds the quota of a spool in memory by the container's limit. The
// paths are those of cgroup v2 and v1 as a container sees them.
func memoryQuota(quota int64, limits ...string) int64 {
	for _, path := range limits {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// "max" means no limit, which v1 writes as a number near 2^63.
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil {
			quota = min(quota, max(limit/memoryShare, minMemoryQuota))
		}
	}
	return quota
}
