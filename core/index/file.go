package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/store"
)

const (
	// openWait bounds the wait for another holder of the file; the storage's lock has
	// excluded every other process by then.
	openWait = 5 * time.Second
	// sumSize is the length of a checksum.
	sumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// survive calls f, which reads or writes the file, and returns store.ErrDamaged where the
// program would crash otherwise: bbolt maps the file into memory, so a page that was cut
// off or that the disk cannot read causes a fault, and it panics on invalid pages.
func survive(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine only
	defer func() {
		p := recover()
		if _, fault := p.(interface{ Addr() uintptr }); fault {
			p = "a page of the file is missing, or cannot be read"
		}
		if p != nil {
			err = fmt.Errorf("index is %w: %v", store.ErrDamaged, p)
		}
	}()
	return f()
}

// use calls f with the database, one call at a time: locks that bbolt holds when a call
// is cut short stay locked, and no other call may be waiting for them. The damaged file
// and its mapping are then left alone until the process ends.
func (x *Index) use(f func(*bbolt.DB) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return fmt.Errorf("index is %w", store.ErrDamaged)
	}
	err := survive(func() error { return f(x.db) })
	if errors.Is(err, store.ErrDamaged) {
		x.db = nil
		x.ready.Store(false)
		x.damaged(err)
	}
	return err
}

func (x *Index) view(f func(*bbolt.Tx) error) error {
	return x.use(func(db *bbolt.DB) error { return db.View(f) })
}

func (x *Index) update(f func(*bbolt.Tx) error) error {
	return x.use(func(db *bbolt.DB) error { return db.Update(f) })
}

// renew begins an empty file. The caller holds mu, or is Open.
func (x *Index) renew() error {
	x.ready.Store(false)
	x.whole, x.gone = false, nil
	x.epoch++
	if x.db != nil {
		x.db.Close() // its content is not needed
		x.db = nil
	}
	if x.path == "" {
		if x.file != "" {
			os.Remove(x.file)
		}
		f, err := os.CreateTemp("", "registry-index-*.db")
		if err != nil {
			return err
		}
		x.file = f.Name()
		f.Close()
	} else if err := os.Remove(x.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a directory that is not empty is not ours
	}
	return x.load()
}

// load opens the file and creates the missing buckets in it.
func (x *Index) load() error {
	var db *bbolt.DB
	err := survive(func() (err error) {
		// The list of free pages is kept in the file: without it bbolt looks for them in
		// the pages, in a goroutine whose panic cannot be recovered.
		db, err = bbolt.Open(x.file, 0o600, &bbolt.Options{
			Timeout: openWait, NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType,
		})
		if err != nil {
			return err
		}
		if x.stat, err = os.Lstat(x.file); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			x.rows = map[string]uint64{}
			if format := tx.Bucket(formatBucket); format != nil {
				for _, bucket := range buckets {
					x.rows[string(bucket)] = binary.BigEndian.Uint64(format.Get([]byte(rowsPrefix + string(bucket))))
				}
				x.whole = format.Get(wholeKey) != nil
				x.ready.Store(true)
			}
			for _, name := range buckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		x.ready.Store(false)
		if db != nil && !errors.Is(err, store.ErrDamaged) {
			db.Close()
		}
		return err
	}
	x.db = db
	return nil
}

// take moves the file of the last clean stop to the name that it has while it is open,
// and reports whether it is whole. Errors: store.ErrDamaged, and those of the disk.
func (x *Index) take() (bool, error) {
	if err := os.MkdirAll(filepath.Dir(x.path), 0o700); err != nil {
		return false, err
	}
	if err := os.Remove(x.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err // left by a crash, and not removable
	}
	err := os.Rename(x.path, x.file)
	if err == nil {
		err = unseal(x.file)
	}
	missing := errors.Is(err, os.ErrNotExist)
	if missing {
		err = nil
	}
	return err == nil && !missing, errors.Join(err, syncDir(filepath.Dir(x.path)))
}

// finish reads every row, as lists do, and closes the database. Errors: store.ErrDamaged also
// when rows have disappeared. A page's own header has no checksum, and the next run would trust
// it.
func (x *Index) finish() error {
	err := x.db.Update(func(tx *bbolt.Tx) error {
		format := tx.Bucket(formatBucket)
		if format == nil {
			return nil
		}
		for _, bucket := range buckets {
			found := uint64(0)
			c := rows(tx, bucket)
			var behind []byte
			for k, _ := c.seek(nil); k != nil; k, _ = c.seek(behind) {
				behind = append(append(behind[:0], k...), 0)
				found++
			}
			if want := x.rows[string(bucket)]; found != want {
				return fmt.Errorf("index is %w: it has %d rows of %d of %s", store.ErrDamaged, found, want, bucket)
			}
			key := []byte(rowsPrefix + string(bucket))
			if err := format.Put(key, binary.BigEndian.AppendUint64(nil, found)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, store.ErrDamaged) {
		return err
	}
	return errors.Join(err, x.db.Close())
}

// seal appends a checksum of the whole file, and makes it durable.
func seal(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := crc32.New(castagnoli)
	if _, err = io.Copy(hash, f); err == nil {
		_, err = f.Write(binary.BigEndian.AppendUint32(nil, hash.Sum32()))
	}
	return errors.Join(err, f.Sync())
}

// unseal removes the checksum. Errors: store.ErrDamaged if it is not that of the file.
func unseal(file string) error {
	fi, err := os.Lstat(file)
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular(): // opening a pipe would wait for its other end
		return fmt.Errorf("index is %w: not a file", store.ErrDamaged)
	case fi.Size() < sumSize:
		return fmt.Errorf("index is %w: it has %d bytes", store.ErrDamaged, fi.Size())
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("index is %w: %w", store.ErrDamaged, err)
	}
	defer f.Close()
	hash, want, length := crc32.New(castagnoli), make([]byte, sumSize), fi.Size()-sumSize
	if _, err := io.CopyN(hash, f, length); err != nil {
		return fmt.Errorf("index is %w: %w", store.ErrDamaged, err)
	}
	if _, err := io.ReadFull(f, want); err != nil || binary.BigEndian.Uint32(want) != hash.Sum32() {
		return fmt.Errorf("index is %w: it does not have its checksum", store.ErrDamaged)
	}
	return f.Truncate(length)
}

// syncDir makes the rename durable: a file that is in use must not be found under
// its resting name after a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
