package verify_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// cached is how many pages of a file are in the page cache.
func cached(f *os.File) (pages uint64, ok bool) {
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0)
	return stat.Cache, err == nil
}

// evict takes a file out of the page cache, and reports whether that worked.
func evict(t *testing.T, f *os.File) bool {
	t.Helper()
	must(t, f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	pages, ok := cached(f)
	return ok && pages == 0
}
