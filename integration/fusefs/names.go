package fusefs

import (
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The longest file name, in bytes, as on every file system that matters here.
const maxName = 255

// Flags of renameat2 that matter.
const renameNoReplace = 1

func (f *FS) String() string { return "fusefs" }

// key returns the key under which a name is stored.
func (f *FS) key(name string) string {
	if f.fold {
		return strings.ToLower(name)
	}
	return name
}

// dir finds a directory for a request. The caller holds mu.
func (f *FS) dir(id uint64) (*inode, fuse.Status) {
	n := f.nodes[id]
	switch {
	case !f.alive():
		return nil, fuse.EIO
	case n == nil:
		return nil, fuse.Status(syscall.ESTALE)
	case !n.isDir():
		return nil, fuse.ENOTDIR
	}
	return n, fuse.OK
}

// found describes n to the kernel. The kernel may cache a name, because no other process
// changes the disk, unless case is folded: then a name also changes under its other spelling.
func (f *FS) found(n *inode, out *fuse.EntryOut) {
	out.NodeId = n.id
	out.Generation = 1
	if !f.fold {
		out.SetEntryTimeout(time.Hour)
	}
	f.attr(n, &out.Attr)
}

func (f *FS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, status := f.dir(in.NodeId)
	if !status.Ok() {
		return status
	}
	e, ok := dir.entries[f.key(name)]
	if !ok {
		return fuse.ENOENT
	}
	f.found(e.node, out)
	return fuse.OK
}

// make creates a file or directory, unless there is no room or it exists: then
// it returns what exists. The caller holds mu.
func (f *FS) make(parent uint64, name string, mode uint32) (*inode, fuse.Status) {
	dir, status := f.dir(parent)
	if !status.Ok() {
		return nil, status
	}
	if len(name) > maxName {
		return nil, fuse.Status(syscall.ENAMETOOLONG)
	}
	if e, ok := dir.entries[f.key(name)]; ok {
		return e.node, fuse.Status(syscall.EEXIST)
	}
	if f.room() < nodeWeight+entryWeight {
		return nil, fuse.Status(syscall.ENOSPC)
	}
	if status := f.change(); !status.Ok() {
		return nil, status
	}
	n := f.newNode(mode, dir, name)
	f.link(n, dir, name)
	return n, fuse.OK
}

// link gives n a name. The caller holds mu.
func (f *FS) link(n, dir *inode, name string) {
	n.parent, n.name = dir, name
	n.links++
	f.used += entryWeight
	dir.apply(map[string]entry{f.key(name): {name, n}})
}

func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.Status(syscall.EOPNOTSUPP) // sockets are not supported
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.make(in.NodeId, name, in.Mode)
	if status.Ok() {
		f.found(n, out)
	}
	return status
}

func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.make(in.NodeId, name, in.Mode&0o7777|syscall.S_IFDIR)
	if status.Ok() {
		f.found(n, out)
	}
	return status
}

func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.make(in.NodeId, name, in.Mode&0o7777|syscall.S_IFREG)
	if status == fuse.Status(syscall.EEXIST) && in.Flags&syscall.O_EXCL == 0 {
		status = fuse.OK
	}
	if !status.Ok() {
		return status
	}
	n.open(&out.OpenOut)
	f.found(n, &out.EntryOut)
	return fuse.OK
}

func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, status := f.dir(in.NodeId)
	n := f.nodes[in.Oldnodeid]
	switch {
	case !status.Ok():
		return status
	case n == nil || n.links == 0:
		return fuse.ENOENT
	case n.isDir():
		return fuse.EPERM
	case f.room() < entryWeight:
		return fuse.Status(syscall.ENOSPC)
	}
	if _, ok := dir.entries[f.key(name)]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	if status := f.change(); !status.Ok() {
		return status
	}
	f.link(n, dir, name)
	f.found(n, out)
	return fuse.OK
}

func (f *FS) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.remove(in.NodeId, name, false)
}

func (f *FS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.remove(in.NodeId, name, true)
}

func (f *FS) remove(parent uint64, name string, wantDir bool) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, status := f.dir(parent)
	if !status.Ok() {
		return status
	}
	e, ok := dir.entries[f.key(name)]
	switch {
	case !ok:
		return fuse.ENOENT
	case wantDir && !e.node.isDir():
		return fuse.ENOTDIR
	case !wantDir && e.node.isDir():
		return fuse.Status(syscall.EISDIR)
	case len(e.node.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if status := f.change(); !status.Ok() {
		return status
	}
	dir.apply(map[string]entry{f.key(name): {}})
	f.unlinked(e.node)
	return fuse.OK
}

// unlinked counts a name that n lost. The caller holds mu.
func (f *FS) unlinked(n *inode) {
	n.links--
	f.used -= entryWeight
	f.release(n)
}

func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, status := f.dir(in.NodeId)
	if !status.Ok() {
		return status
	}
	to, status := f.dir(in.Newdir)
	if !status.Ok() {
		return status
	}
	e, ok := from.entries[f.key(oldName)]
	old, replaces := to.entries[f.key(newName)]
	same := from == to && f.key(oldName) == f.key(newName)
	switch {
	case !ok:
		return fuse.ENOENT
	case in.Flags&^renameNoReplace != 0:
		return fuse.EINVAL
	case len(newName) > maxName:
		return fuse.Status(syscall.ENAMETOOLONG)
	case e.node.isDir() && from != to:
		return fuse.Status(syscall.EXDEV)
	case replaces && !same && in.Flags&renameNoReplace != 0:
		return fuse.Status(syscall.EEXIST)
	case replaces && !same && old.node == e.node:
		return fuse.OK // POSIX: two links to one file, nothing happens
	case replaces && !same && old.node.isDir() != e.node.isDir():
		return fuse.Status(syscall.EISDIR)
	case replaces && !same && len(old.node.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if status := f.change(); !status.Ok() {
		return status
	}
	set := map[string]entry{f.key(oldName): {}}
	if from != to {
		// Two directories are two syncs: one side may persist without the other.
		from.apply(set)
		set = make(map[string]entry)
	}
	set[f.key(newName)] = entry{newName, e.node}
	to.apply(set)
	e.node.parent, e.node.name = to, newName
	if replaces && !same {
		f.unlinked(old.node)
	}
	return fuse.OK
}
