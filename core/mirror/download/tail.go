package download

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// block is how many bytes of a download's end are in memory, and how many are written to the
	// file at once. Blocks end at its multiples, for the reason that core/bucket/dir gives for
	// the same size. A slow reader keeps at most one block from being reused.
	block = 256 << 10
	// fewReaders are woken for every piece. More of them are woken once in tellWithin,
	// or for a block: the wakes of hundreds of readers, each for a few kilobytes, take
	// the time in which others get their first byte.
	fewReaders = 8
	tellWithin = 100 * time.Millisecond
	// firstPiece is how many bytes a reader gets before all others have theirs. With the header
	// of an answer it is one small write.
	firstPiece = 2 << 10
	// copied is how many bytes are copied from the file at once, for each reader that has fallen
	// behind the block in memory.
	copied = 64 << 10
)

// tail is a block of a download in memory: readers that keep up with the upstream share these
// bytes instead of copying each from the file. Bytes are appended, and change only when the tail
// is not in use any more. download.mu guards it.
type tail struct {
	start int64  // of its first byte in the blob
	data  []byte // grows up to its capacity
	users int
}

// end is the offset of the byte after the block.
func (t *tail) end() int64 { return t.start - t.start%block + block }

// full reports whether the block is full.
func (t *tail) full() bool { return t.start+int64(len(t.data)) == t.end() }

// space returns the buffer for the upstream's next bytes. Only run calls it, and only when the
// bytes of a full block are in the file too: readers find them there from now on.
func (d *download) space() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tail; t == nil || t.full() {
		next := d.spare
		if d.spare = nil; next == nil {
			next = &tail{data: make([]byte, 0, block)}
		}
		next.start, next.data = d.held, next.data[:0]
		d.tail = next
		d.retire(t)
	}
	t := d.tail
	return t.data[len(t.data) : t.end()-t.start]
}

// unstored returns the bytes in memory after the first stored bytes, which are in the file, and
// whether the block is full.
func (d *download) unstored(stored int64) (p []byte, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tail == nil {
		return nil, false
	}
	return d.tail.data[stored-d.tail.start:], d.tail.full()
}

// retire keeps an unused tail for the next block. d.mu is held.
func (d *download) retire(t *tail) {
	if t != nil && t != d.tail && t.users == 0 {
		d.spare = t
	}
}

// grow lets readers have n bytes more, which are in space.
func (d *download) grow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tail.data = d.tail.data[:len(d.tail.data)+n]
	d.held += int64(n)
	if n > 0 {
		d.seal(d.ahead.have.before(d.held - 1))
	}
	if a := &d.ahead; a.running && a.stop != nil && d.held >= a.asked.end {
		a.stop(errOvertaken)
	}
	d.came(int64(n))
}

// came wakes readers for n more bytes, at once or soon. d.mu is held.
func (d *download) came(n int64) {
	d.untold += n
	switch {
	case d.users-1 <= fewReaders || d.untold >= block || time.Since(d.toldAt) >= tellWithin:
		d.tell()
	case !d.telling:
		d.telling = true
		time.AfterFunc(tellWithin, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.telling = false
			d.tell()
		})
	}
}

// tell wakes waiting readers. d.mu is held.
func (d *download) tell() {
	d.untold, d.toldAt = 0, time.Now()
	d.changed.Broadcast()
}

// at returns the bytes in memory from offset on, or nil if they are in the file. They do not
// change until done is called.
func (d *download) at(offset int64) (p []byte, done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tail
	if t == nil || offset < t.start || offset >= t.start+int64(len(t.data)) {
		return nil, nil
	}
	t.users++
	return t.data[offset-t.start:], func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		t.users--
		d.retire(t)
	}
}

// ReadAt reads held bytes, from memory or from a file. It implements io.ReaderAt except for the
// end, which it does not know: a read beyond the held bytes is an error.
func (d *download) ReadAt(p []byte, offset int64) (sum int, err error) {
	for sum < len(p) && err == nil {
		var n int
		n, err = d.readSome(p[sum:], offset+int64(sum))
		sum += n
	}
	return sum, err
}

// errMoved is returned to readers and the writer of the scratch file when it is gone.
var errMoved = errors.New("scratch file is gone")

// readSome reads from one of them. It reads nothing only with an error: errMoved if the reader
// must look the bytes up again.
func (d *download) readSome(p []byte, offset int64) (int, error) {
	if held, done := d.at(offset); held != nil {
		defer done()
		return copy(p, held), nil
	}
	d.mu.Lock()
	file, end := d.file, d.held
	if d.tail != nil {
		end = d.tail.start
	}
	scratch, until := d.ahead.file, d.ahead.have.end(offset)
	d.mu.Unlock()
	if offset < until && (file == nil || offset >= end) {
		n, err := scratch.ReadAt(p[:min(int64(len(p)), until-offset)], offset)
		if n > 0 {
			return n, nil
		}
		d.unreadable(scratch, err)
		return 0, errMoved
	}
	if file == nil || offset >= end {
		return 0, errMoved // the bytes of the scratch file are not here yet
	}
	n, err := file.ReadAt(p[:min(int64(len(p)), end-offset)], offset)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

var copyBuffers = sync.Pool{New: func() any { return new([copied]byte) }}

// give writes some of the held bytes from offset to end.
func (d *download) give(w io.Writer, offset, end int64) (int, error) {
	if held, done := d.at(offset); held != nil {
		defer done()
		return w.Write(held[:min(int64(len(held)), end-offset)])
	}
	buf := copyBuffers.Get().(*[copied]byte)
	defer copyBuffers.Put(buf)
	n, err := d.ReadAt(buf[:min(copied, end-offset)], offset)
	if n == 0 {
		return 0, err
	}
	return w.Write(buf[:n])
}
