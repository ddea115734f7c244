package folders

import (
	"io/fs"
	"syscall"
	"time"
)

// Status describes a file.
type Status struct {
	Size    int64 // bytes
	Time    time.Time
	Inode   uint64
	Names   uint64    // of the file
	Changed time.Time // when its inode was last changed, as by another name; zero: not known
	Regular bool
}

// StatusOf returns the status in a FileInfo of package os.
func StatusOf(fi fs.FileInfo) Status {
	s := Status{Size: fi.Size(), Time: fi.ModTime(), Regular: fi.Mode().IsRegular()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode, s.Names, s.Changed = st.Ino, uint64(st.Nlink), changed(st)
	}
	return s
}
