package verify

import (
	"os"

	"golang.org/x/sys/unix"
)

// mostlyCached reports whether the page cache holds more than half of a file, or whether the
// kernel cannot say (cachestat needs Linux 6.5).
func mostlyCached(f *os.File, size int64) bool {
	if f == nil {
		return true
	}
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0)
	return err != nil || 2*int64(stat.Cache)*int64(os.Getpagesize()) > size
}

// forget makes the page cache drop a part of a file, all of it if n is 0: the content that a run
// has read is not going to be read again soon. It is a hint.
func forget(f *os.File, at, n int64) {
	if f != nil {
		_ = unix.Fadvise(int(f.Fd()), at, n, unix.FADV_DONTNEED)
	}
}
