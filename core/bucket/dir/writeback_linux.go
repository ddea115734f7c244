package dir

import (
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE of sync_file_range(2).
const syncFileRangeWrite = 2

// startWriteback makes the kernel begin to write a part of a file. It does not wait, and gives
// no guarantee: the sync of the same file reports an error.
func startWriteback(f *os.File, from, length int64) {
	_ = syscall.SyncFileRange(int(f.Fd()), from, length, syncFileRangeWrite)
}
