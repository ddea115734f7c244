package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// file finds any inode for a request. The caller holds mu.
func (f *FS) file(id uint64) (*inode, fuse.Status) {
	n := f.nodes[id]
	switch {
	case !f.alive():
		return nil, fuse.EIO
	case n == nil:
		return nil, fuse.Status(syscall.ESTALE)
	}
	return n, fuse.OK
}

func (f *FS) attr(n *inode, out *fuse.Attr) {
	out.Ino = n.id
	out.Mode = n.mode
	out.Nlink = uint32(n.links)
	if n.isDir() {
		out.Nlink = 2
	}
	out.Size = uint64(len(n.data))
	out.Blocks = (out.Size + sector - 1) / sector
	out.SetTimes(&n.mtime, &n.mtime, &n.mtime)
	out.Uid, out.Gid = uint32(syscall.Getuid()), uint32(syscall.Getgid())
}

func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(in.NodeId)
	if status.Ok() {
		f.attr(n, &out.Attr)
	}
	return status
}

func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(in.NodeId)
	if !status.Ok() {
		return status
	}
	if size, ok := in.GetSize(); ok {
		if status := f.truncate(n, int64(size)); !status.Ok() {
			return status
		}
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode
	}
	if t, ok := in.GetMTime(); ok {
		n.mtime = t
	}
	f.attr(n, &out.Attr)
	return fuse.OK
}

// truncate changes a file's size. The caller holds mu.
func (f *FS) truncate(n *inode, size int64) fuse.Status {
	grows := size - int64(len(n.data))
	switch {
	case n.isDir():
		return fuse.Status(syscall.EISDIR)
	case grows > f.room():
		return fuse.Status(syscall.ENOSPC)
	}
	if status := f.change(); !status.Ok() {
		return status
	}
	n.resize(size)
	f.used += grows
	return fuse.OK
}

func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(in.NodeId)
	if !status.Ok() {
		return status
	}
	if in.Flags&syscall.O_TRUNC != 0 && len(n.data) > 0 {
		if status := f.truncate(n, 0); !status.Ok() {
			return status
		}
	}
	n.open(out)
	return fuse.OK
}

// open counts an open file. There is nothing to flush at its close.
func (n *inode) open(out *fuse.OpenOut) {
	n.opens++
	out.OpenFlags = fuse.FOPEN_NOFLUSH
}

func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[in.NodeId]; n != nil {
		n.opens--
		f.release(n)
	}
}

func (f *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(in.NodeId)
	if !status.Ok() {
		return nil, status
	}
	if f.failRead != nil && f.failRead(n.path()) {
		return nil, fuse.EIO
	}
	if in.Offset >= uint64(len(n.data)) {
		return fuse.ReadResultData(nil), fuse.OK
	}
	return fuse.ReadResultData(buf[:copy(buf, n.data[in.Offset:])]), fuse.OK
}

// Write writes as much as there is room for, and returns ENOSPC if there is none.
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(in.NodeId)
	if !status.Ok() {
		return 0, status
	}
	off := int64(in.Offset)
	if room := int64(len(n.data)) + f.room() - off; int64(len(data)) > room {
		if room <= 0 {
			return 0, fuse.Status(syscall.ENOSPC)
		}
		data = data[:room]
	}
	if status := f.change(); !status.Ok() {
		return 0, status
	}
	before := len(n.data)
	n.write(data, off)
	f.used += int64(len(n.data) - before)
	return uint32(len(data)), fuse.OK
}

func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.sync(in.NodeId)
}

func (f *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.sync(in.NodeId)
}

func (f *FS) sync(id uint64) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.file(id)
	if !status.Ok() {
		return status
	}
	if !f.step() {
		return fuse.EIO
	}
	path := n.path()
	f.syncs[path]++
	outcome := Durable
	if f.onSync != nil {
		outcome = f.onSync(path)
	}
	n.sync(outcome)
	if outcome == Fail {
		return fuse.EIO
	}
	return fuse.OK
}

func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, status := f.dir(in.NodeId); !status.Ok() {
		return status
	}
	out.Fh = f.nextID // any unique number
	f.nextID++
	return fuse.OK
}

// ReadDir lists the directory as it was when it was read from the beginning, in
// no order.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, status := f.dir(in.NodeId)
	if !status.Ok() {
		return status
	}
	if in.Offset == 0 {
		var list []fuse.DirEntry
		for _, e := range dir.entries {
			list = append(list, fuse.DirEntry{Name: e.name, Mode: e.node.mode, Ino: e.node.id})
		}
		f.handles[in.Fh] = list
	}
	list := f.handles[in.Fh]
	for i := int(in.Offset); i < len(list); i++ {
		if !out.AddDirEntry(list[i]) {
			break
		}
	}
	return fuse.OK
}

func (f *FS) ReleaseDir(in *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.handles, in.Fh)
}

// StatFs reports the limit as the size of the disk.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Bsize, out.Frsize, out.NameLen = sector, sector, maxName
	out.Bfree = uint64(f.room() / sector)
	out.Bavail = out.Bfree
	out.Blocks = out.Bfree + uint64(f.used/sector)
	out.Files, out.Ffree = 1<<20, 1<<20
	return fuse.OK
}
