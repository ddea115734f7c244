package folders

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// linkFile is not possible: link(2) takes a path only.
func linkFile(int, int, string) error { return errors.ErrUnsupported }

// cloneFile is fclonefileat(2), which copies the file's mode, too.
func cloneFile(fd, dir int, name string) error {
	if err := unix.Fclonefileat(fd, dir, name, unix.CLONE_NOFOLLOW|unix.CLONE_NOOWNERCOPY); err != nil {
		return err
	}
	if err := unix.Fchmodat(dir, name, 0o600, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		unix.Unlinkat(dir, name, 0)
		return err
	}
	return nil
}

// changed returns when the inode was last changed, as by a link.
func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }
