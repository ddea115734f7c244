package folders

import (
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// linkFile links an open file by the name that the kernel has for its descriptor. The other way,
// AT_EMPTY_PATH, needs a capability.
func linkFile(fd, dir int, name string) error {
	return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

// cloneFile is FICLONE (ioctl_ficlone(2)) into a new file.
func cloneFile(fd, dir int, name string) error {
	to, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if err := unix.IoctlFileClone(to, fd); err != nil {
		unix.Unlinkat(dir, name, 0)
		return err
	}
	return nil
}

// changed returns when the inode was last changed, as by a link.
func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }
