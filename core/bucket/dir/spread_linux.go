package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

// topDirectory is FS_TOPDIR_FL of ioctl_iflags(2), chattr +T.
const topDirectory = 0x00020000

// spread marks dir so that ext4 treats directories that are later made in it as unrelated, and
// gives each a separate part of the disk. New files are then placed apart from what other
// programs make and remove beside the storage: ext4 without a journal skips the inodes that
// were removed in the last minutes, one by one, which can cost a millisecond for each new file.
// It is a hint; file systems that do not support it ignore it.
func spread(dir *os.File) {
	flags, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		_ = unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, flags|topDirectory)
	}
}
