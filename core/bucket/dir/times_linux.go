package dir

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// setTimes sets both times of an open file. It is utimensat(2) without a path, which
// package syscall has only through /proc.
func setTimes(f *os.File, when time.Time) error {
	stamp := syscall.NsecToTimespec(when.UnixNano())
	times := [2]syscall.Timespec{stamp, stamp}
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
			continue
		}
		return &os.PathError{Op: "set times", Path: f.Name(), Err: errno}
	}
}
