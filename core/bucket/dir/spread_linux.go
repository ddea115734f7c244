package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

// topDirectory is FS_TOPDIR_FL of ioctl_iflags(2), chattr +T.
const topDirectory = 0x00020000

// spread tells an ext4 that the directories in dir, which are still to be made, have
// nothing to do with each other, so that it gives each a part of the disk of its own.
// New files are then placed apart from what other programs make and remove beside the
// storage: ext4 without a journal passes by the inodes that were removed in the last
// minutes, one by one, which can cost a millisecond for each new file. It is a hint; a
// file system that does not know it goes without.
func spread(dir *os.File) {
	flags, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		_ = unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, flags|topDirectory)
	}
}
