package groupsync

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxUnwritten bounds, in bytes, what the machine may have to write when everything on
// a file system is synced at once: pushes of others' megabytes, or other programs, are
// not what a small push should wait for. A disk of 500 MB/s needs a quarter of a second
// for it, and once: it is written then.
const maxUnwritten = 128 << 20

// All returns what makes everything durable that is on the file system of f, or nil
// where no call is known to do that.
//
// On ext4 and XFS syncfs(2) writes all data and metadata, and since Linux 5.8 it reports
// what could not be written. FUSE does not hear of it, and network file systems promise
// less. An ext4 without a journal writes its metadata last, after the disk's cache was
// flushed; the sync of f, which has nothing to write, flushes it once more.
func All(f *os.File) func() error {
	var on unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &on); err != nil {
		return nil
	}
	if on.Type != unix.EXT4_SUPER_MAGIC && on.Type != unix.XFS_SUPER_MAGIC || !sinceLinux(5, 8) {
		return nil
	}
	return func() error {
		if n, err := unwritten(); err != nil || n > maxUnwritten {
			return errBusy
		}
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return os.NewSyscallError("syncfs", err)
		}
		return f.Sync()
	}
}

// sinceLinux reports whether the kernel is of a version or later.
func sinceLinux(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var gotMajor, gotMinor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &gotMajor, &gotMinor); n < 2 {
		return false
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}

// unwritten is how many bytes the whole machine has in memory that are on their way to
// its disks (proc_meminfo(5): Dirty and Writeback).
func unwritten() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	var sum int64
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != "Dirty" && name != "Writeback" {
			continue
		}
		kibibytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/meminfo: %s: %w", name, err)
		}
		sum += kibibytes << 10
	}
	return sum, nil
}
