//go:build linux || darwin

package evict

import (
	"fmt"
	"syscall"
)

// DiskOf returns the disk of the directory.
func DiskOf(directory string) Disk { return disk(directory) }

type disk string

// Space implements Disk. Space that is reserved for root is not free.
func (d disk) Space() (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(string(d), &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", string(d), err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
