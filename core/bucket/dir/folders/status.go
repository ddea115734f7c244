package folders

import (
	"io/fs"
	"syscall"
	"time"
)

// Status is what is asked about a file.
type Status struct {
	Size    int64 // bytes
	Time    time.Time
	Inode   uint64
	Names   uint64 // of the file
	Regular bool
}

// StatusOf takes it from what package os says.
func StatusOf(fi fs.FileInfo) Status {
	s := Status{Size: fi.Size(), Time: fi.ModTime(), Regular: fi.Mode().IsRegular()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode, s.Names = st.Ino, uint64(st.Nlink)
	}
	return s
}
