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

// maxUnwritten bounds the unwritten bytes of the machine when a whole file system is synced at
// once: a small push should not wait for large pushes or other programs. A disk of 500 MB/s
// needs a quarter of a second for them, and only once.
const maxUnwritten = 128 << 20

// All returns a function that makes everything on the file system of f durable, or nil if no
// call is known to do that.
//
// On ext4 and XFS syncfs(2) writes all data and metadata, and since Linux 5.8 it reports write
// errors. FUSE file systems do not receive it, and network file systems promise less. An ext4
// without a journal writes its metadata last, after the disk's cache was flushed; the sync of
// f, which has nothing to write, flushes it once more.
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

// sinceLinux reports whether the kernel has at least a version.
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

// unwritten returns how many bytes in the memory of the whole machine are not yet on its disks
// (proc_meminfo(5): Dirty and Writeback).
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
