package dir

import (
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE of sync_file_range(2).
const syncFileRangeWrite = 2

// startWriteback has the kernel begin to write a part of a file. It waits for nothing
// and promises nothing: an error is left for the sync of the same file to report.
func startWriteback(f *os.File, from, length int64) {
	_ = syscall.SyncFileRange(int(f.Fd()), from, length, syncFileRangeWrite)
}
