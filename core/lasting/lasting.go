// Package lasting keeps small rows in a bbolt file that cannot be rebuilt from anything else, for
// content that a registry also works without: its events, its hours.
//
//	f := lasting.Open(path, buckets, log)
//	defer f.Close()
//	err := f.Update(func(tx *bbolt.Tx) error { … })
//
// A file that is damaged is renamed to path+".damaged", which replaces an earlier one, and a new
// one begins. A file that cannot be opened, on a full or a read-only disk, is tried again by every
// Update. So Open never fails, and only Update and View do.
//
// bbolt has no checksums of rows, so each value that is written with Seal has one.
package lasting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is the error of a row or a page that is not what was written.
var ErrDamaged = errors.New("file is damaged")

// ErrNone is the error of a File without a path.
var ErrNone = errors.New("there is no file")

// openWait bounds the wait for another holder of the file. The storage's lock has excluded every
// other process by then.
const openWait = 5 * time.Second

// File is a bbolt file. It is safe for concurrent use, one call at a time.
type File struct {
	path    string
	buckets [][]byte
	log     *slog.Logger

	mu     sync.Mutex // guards what follows, and everything that bbolt does
	db     *bbolt.DB  // nil: it is not open
	warned bool       // that it cannot be opened
	closed bool
}

// Open opens the file at path with these buckets in it, or begins it. An empty path makes a File
// whose Update and View return ErrNone.
func Open(path string, buckets [][]byte, log *slog.Logger) *File {
	f := &File{path: path, buckets: buckets, log: log}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready()
	return f
}

// Update calls change in a transaction, and returns after it is durable. Errors: that of change,
// those of the disk, ErrDamaged, ErrNone.
func (f *File) Update(change func(*bbolt.Tx) error) error {
	return f.use(func(db *bbolt.DB) error { return db.Update(change) })
}

// View calls read in a transaction. Errors are those of Update.
func (f *File) View(read func(*bbolt.Tx) error) error {
	return f.use(func(db *bbolt.DB) error { return db.View(read) })
}

func (f *File) use(call func(*bbolt.DB) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return err
	}
	err := survive(func() error { return call(f.db) })
	if errors.Is(err, ErrDamaged) {
		// Locks that bbolt held when a call was cut short stay locked. The old mapping is left
		// alone until the process ends.
		f.db = nil
		f.setAside(err)
	}
	return err
}

// ready opens the file if it is not open. f.mu is held.
func (f *File) ready() error {
	switch {
	case f.path == "" || f.closed:
		return ErrNone
	case f.db != nil:
		return nil
	}
	err := f.open()
	if err != nil && damaged(err) {
		f.setAside(err)
		err = f.open()
	}
	if err != nil && !f.warned {
		f.log.Warn("file cannot be opened; it is tried again, and what it should keep is in memory meanwhile",
			"path", f.path, "error", err)
	}
	f.warned = err != nil
	return err
}

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	// Opening a pipe would wait for its other end.
	if info, err := os.Lstat(f.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is not a regular file", ErrDamaged)
	}
	var db *bbolt.DB
	err := survive(func() (err error) {
		// The list of free pages is kept in the file: without it bbolt looks for them in the pages,
		// in a goroutine whose panic cannot be recovered.
		options := bbolt.Options{Timeout: openWait, FreelistType: bbolt.FreelistMapType}
		if db, err = bbolt.Open(f.path, 0o600, &options); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			for _, name := range f.buckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		if db != nil && !errors.Is(err, ErrDamaged) {
			db.Close()
		}
		return err
	}
	f.db = db
	return nil
}

// setAside keeps a damaged file under another name.
func (f *File) setAside(why error) {
	to := f.path + ".damaged"
	err := os.RemoveAll(to)
	if err == nil {
		err = os.Rename(f.path, to)
	}
	f.log.Error("file is damaged and was set aside; a new one begins",
		"path", f.path, "set_aside", to, "damage", why, "error", err)
}

// Close closes the file. Errors are those of the disk.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	return survive(db.Close)
}

// damaged reports whether the file itself is the reason why it cannot be opened, and not the disk or
// another holder.
func damaged(err error) bool {
	var number syscall.Errno
	var path *fs.PathError
	return !errors.As(err, &number) && !errors.As(err, &path) && !errors.Is(err, berrors.ErrTimeout)
}

// survive calls f, and returns ErrDamaged where the program would crash otherwise: bbolt maps the
// file into memory, so a page that was cut off or that the disk cannot read causes a fault, and it
// panics on invalid pages.
func survive(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine only
	defer func() {
		p := recover()
		if _, fault := p.(interface{ Addr() uintptr }); fault {
			p = "a page is missing, or cannot be read"
		}
		if p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

const sumSize = 4 // bytes of a checksum

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Seal returns the stored form of a value: a checksum of the row, then the value.
func Seal(key, value []byte) []byte {
	row := make([]byte, 0, sumSize+len(value))
	return append(binary.BigEndian.AppendUint32(row, sum(key, value)), value...)
}

// Unseal returns the value of a stored row, which is valid as long as its transaction. Errors:
// ErrDamaged.
func Unseal(key, row []byte) ([]byte, error) {
	if len(row) < sumSize || binary.BigEndian.Uint32(row) != sum(key, row[sumSize:]) {
		return nil, fmt.Errorf("%w: a row does not have its checksum", ErrDamaged)
	}
	return row[sumSize:], nil
}
