// Package folders is a tree of files whose directories are kept open: a name in one of them
// is one system call, where os.Root walks the whole path anew (that walk was a fifth of the
// CPU time of a push). It is confined as os.Root is: each directory is opened by one name
// within the one above it, and a symbolic link is never followed.
//
//	t := folders.New(root)
//	f, err := t.OpenFile("objects/a/b", os.O_RDONLY)
//
// No other process may remove directories of the tree while it is open. Paths are relative to
// the root, with slashes and without "." and "..". Errors are *fs.PathError.
package folders

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFolders bounds the directories that a tree keeps open: the 256 below each
	// of a store's content, links and manifests, and as many again for directories that are
	// being written to. Beyond it, any of them is closed to make room.
	maxFolders = 2048
	// folderShare is their maximum share of the process's open files, so that a machine with a
	// low limit has files left for clients.
	folderShare = 8
)

// Tree is a directory, and what is below it. It is safe for concurrent use.
//
// An open directory is always the one that its path leads to, because removing and forgetting a
// directory are one step.
type Tree struct {
	root *os.Root
	most int

	mu      sync.Mutex // guards what follows
	open    map[string]*folder
	removed uint64 // counts removals: a directory that was opened before one may not be kept
}

// folder is an open directory.
type folder struct {
	f       *os.File
	fd      int
	users   int  // guarded by Tree.mu
	dropped bool // it closes with its last user
}

// New returns the tree below root. The caller closes root after the tree.
func New(root *os.Root) *Tree {
	most := maxFolders
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur/folderShare < maxFolders {
		most = int(limit.Cur / folderShare)
	}
	return &Tree{root: root, most: most, open: make(map[string]*folder)}
}

// Close closes every directory. A directory in use is closed after its use.
func (t *Tree) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for path := range t.open {
		t.forget(path)
	}
}

// forget drops a directory. t.mu is held.
func (t *Tree) forget(path string) {
	d := t.open[path]
	if d == nil {
		return
	}
	delete(t.open, path)
	if d.dropped = true; d.users == 0 {
		d.f.Close()
	}
}

// hold returns an open directory, and opens it if necessary. The caller must call release.
func (t *Tree) hold(path string) (*folder, error) {
	t.mu.Lock()
	if d := t.open[path]; d != nil {
		d.users++
		t.mu.Unlock()
		return d, nil
	}
	removed := t.removed
	t.mu.Unlock()

	f, err := t.openDir(path)
	if err != nil {
		return nil, err
	}
	d := &folder{f: f, fd: int(f.Fd()), users: 1}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.open[path]; other != nil {
		f.Close()
		other.users++
		return other, nil
	}
	if t.removed != removed {
		d.dropped = true // path may lead to another one by now, so it is used only once
		return d, nil
	}
	for other := range t.open {
		if len(t.open) < t.most {
			break
		}
		t.forget(other)
	}
	t.open[path] = d
	return d, nil
}

func (t *Tree) release(d *folder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.users--; d.users == 0 && d.dropped {
		d.f.Close()
	}
}

func (t *Tree) openDir(path string) (*os.File, error) {
	if path == "." {
		return t.root.Open(".")
	}
	return t.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY)
}

// Directory calls do with a directory, open for reading.
func (t *Tree) Directory(path string, do func(*os.File) error) error {
	d, err := t.hold(path)
	if err != nil {
		return err
	}
	defer t.release(d)
	return do(d.f)
}

// at calls do with the directory of path and the last component of path.
func (t *Tree) at(op, path string, do func(dir int, name string) error) error {
	parent, name := filepath.Dir(path), filepath.Base(path)
	d, err := t.hold(parent)
	if err != nil {
		return err
	}
	defer t.release(d)
	if err := uninterrupted(func() error { return do(d.fd, name) }); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

// between is like at, for two paths.
func (t *Tree) between(op, from, to string, do func(fromDir int, fromName string, toDir int, toName string) error) error {
	parent, name := filepath.Dir(from), filepath.Base(from)
	d, err := t.hold(parent)
	if err != nil {
		return err
	}
	defer t.release(d)
	return t.at(op, to, func(dir int, toName string) error { return do(d.fd, name, dir, toName) })
}

// uninterrupted repeats a call that a signal interrupted, as package os does: some file systems
// (FUSE) return EINTR.
func uninterrupted(do func() error) error {
	for {
		if err := do(); err != unix.EINTR {
			return err
		}
	}
}

// OpenFile opens a file, with the flags of os.OpenFile.
func (t *Tree) OpenFile(path string, flags int) (f *os.File, err error) {
	err = t.at("open", path, func(dir int, name string) error {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			f = os.NewFile(uintptr(fd), filepath.Join(t.root.Name(), path))
		}
		return err
	})
	return f, err
}

// Lstat describes a file or directory. It does not follow a symbolic link.
func (t *Tree) Lstat(path string) (s Status, err error) {
	err = t.at("lstat", path, func(dir int, name string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		s = Status{
			Size: st.Size, Time: time.Unix(st.Mtim.Unix()), Inode: st.Ino, Names: uint64(st.Nlink),
			Changed: time.Unix(st.Ctim.Unix()), Regular: uint32(st.Mode)&unix.S_IFMT == unix.S_IFREG,
		}
		return nil
	})
	return s, err
}

// Chtimes sets the modification time of a file. It also changes the access time, which is not
// used.
func (t *Tree) Chtimes(path string, when time.Time) error {
	return t.at("chtimes", path, func(dir int, name string) error {
		ts, err := unix.TimeToTimespec(when)
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(path string) error {
	return t.at("mkdir", path, func(dir int, name string) error { return unix.Mkdirat(dir, name, 0o700) })
}

// Link gives a file another name.
func (t *Tree) Link(from, to string) error {
	return t.between("link", from, to, func(d int, name string, toDir int, toName string) error {
		return unix.Linkat(d, name, toDir, toName, 0)
	})
}

// Rename moves a file and replaces an existing one.
func (t *Tree) Rename(from, to string) error { return t.between("rename", from, to, unix.Renameat) }

// Remove removes a file.
func (t *Tree) Remove(path string) error {
	return t.at("remove", path, func(dir int, name string) error { return unix.Unlinkat(dir, name, 0) })
}

// RemoveDir removes a directory if it is empty, and forgets it: a new directory at the same
// path is opened again.
func (t *Tree) RemoveDir(path string) error {
	return t.at("remove", path, func(dir int, name string) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == nil {
			t.removed++
			t.forget(path)
		}
		return err
	})
}
