//go:build !linux

package dir

import (
	"os"
	"syscall"
	"time"
)

// setTimes sets both times of an open file, to the microsecond.
func setTimes(f *os.File, when time.Time) error {
	stamp := syscall.NsecToTimeval(when.UnixNano())
	if err := syscall.Futimes(int(f.Fd()), []syscall.Timeval{stamp, stamp}); err != nil {
		return &os.PathError{Op: "set times", Path: f.Name(), Err: err}
	}
	return nil
}
