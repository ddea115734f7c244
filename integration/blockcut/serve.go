package blockcut

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The nodes of the file system: its root, and the one file in it.
const (
	rootID = fuse.FUSE_ROOT_ID
	fileID = rootID + 1
	// FileName is the disk's name below the mount point.
	fileName = "disk"
)

// server is the FUSE side of a Disk. It answers ENOSYS to everything that is not
// here: the block device then does without (it writes zeros where it could discard).
type server struct {
	fuse.RawFileSystem
	disk *Disk
}

func (s *server) init(d *Disk) {
	s.RawFileSystem, s.disk = fuse.NewDefaultRawFileSystem(), d
}

func (s *server) String() string { return "blockcut" }

func attributes(id uint64, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Mode = id, 1, syscall.S_IFREG|0o600
	if id == rootID {
		out.Nlink, out.Mode = 2, syscall.S_IFDIR|0o700
		return
	}
	out.Size, out.Blksize = Size, SectorSize
	out.Blocks = Size / 512
}

func (s *server) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name != fileName {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = fileID, 1
	out.SetEntryTimeout(time.Hour)
	out.SetAttrTimeout(time.Hour)
	attributes(fileID, &out.Attr)
	return fuse.OK
}

func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(time.Hour)
	attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// Open keeps the kernel from caching the file: the block device has a cache of its
// own above it.
func (s *server) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

func (s *server) Release(<-chan struct{}, *fuse.ReleaseIn) {}

func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.serves(in.Offset, len(buf)) {
		return nil, fuse.EIO
	}
	first := int(in.Offset / SectorSize)
	for i := range len(buf) / SectorSize {
		part := buf[i*SectorSize : (i+1)*SectorSize]
		if content := d.now[first+i]; content != nil {
			copy(part, content[:])
		} else {
			clear(part)
		}
	}
	return fuse.ReadResultData(buf), fuse.OK
}

func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r := record{first: int(in.Offset / SectorSize), sectors: make([]sector, len(data)/SectorSize)}
	for i := range r.sectors {
		var content [SectorSize]byte
		copy(content[:], data[i*SectorSize:])
		if content != [SectorSize]byte{} {
			r.sectors[i] = &content
		}
	}
	d := s.disk
	if rand.IntN(lateOdds) == 0 {
		select {
		case <-d.nextFlush():
		case <-time.After(late):
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.serves(in.Offset, len(data)) {
		return 0, fuse.EIO
	}
	d.log = append(d.log, r)
	r.apply(d.now)
	return uint32(len(data)), fuse.OK
}

// Fsync is a flush of the disk's cache: a loop device sends one for every flush that it
// receives, and for every write that must be durable when it is answered.
func (s *server) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return fuse.EIO
	}
	d.log = append(d.log, record{})
	d.flushes++
	close(d.flush)
	d.flush = make(chan struct{})
	return fuse.OK
}

// A flush covers the writes that were answered before it, and not those in flight. So one in
// lateOdds writes waits for a flush to overtake it, but no longer than late: most flushes come
// only after the writes before them were answered.
const (
	lateOdds = 3
	late     = 500 * time.Microsecond
)

// nextFlush is closed at the next flush.
func (d *Disk) nextFlush() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flush
}

// serves reports whether the disk is alive, and records a request for less than whole sectors.
// The caller holds mu.
func (d *Disk) serves(offset uint64, length int) bool {
	if offset%SectorSize != 0 || length%SectorSize != 0 || length == 0 || offset+uint64(length) > Size {
		if d.foul == nil {
			d.foul = fmt.Errorf("a request for %d bytes at %d", length, offset)
		}
		return false
	}
	return !d.dead
}
