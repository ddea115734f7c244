package zot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// metaFile is zot's database, of bbolt.
	metaFile = "meta.db"
	// reposBucket has a message RepoMeta for each repository.
	reposBucket = "RepoMeta"
	// versionBucket has the version of the layout, which must be metaVersion.
	versionBucket, versionKey, metaVersion = "Version", "DBVersion", "V1"
	// lockTimeout is how long the lock of the database is waited for: a zot that runs
	// holds it for good.
	lockTimeout = time.Second
)

// errRunning says what to do about a locked database.
var errRunning = errors.New("the database is locked, so zot is running; stop it and import again")

// meta is an open meta.db. The nil one knows nothing. Its errors name the file.
type meta struct {
	db   *bbolt.DB
	file *os.File // below db
	path string   // for errors

	mu    sync.Mutex // is held while the database is read
	stuck bool       // bbolt has panicked with its locks held; it would wait for itself
	// walked has the roots of the buckets whose pages are in order.
	walked map[uint64]bool
}

// openMeta opens the database for reading, or returns nil if there is none.
func openMeta(d *Directory, path string) (*meta, error) {
	m := &meta{path: path, walked: map[uint64]bool{}}
	if err := m.open(d); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		if m.stuck && m.file != nil { // bbolt has not closed it
			err = errors.Join(err, m.file.Close())
		}
		return nil, err
	}
	if err := m.view(versionBucket, versionKey, func(value []byte) error {
		if string(value) != metaVersion {
			return fmt.Errorf("its version is %q; this program reads %s", clip(value), metaVersion)
		}
		return nil
	}); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// open locks the database and maps it into memory.
func (m *meta) open(d *Directory) (err error) {
	defer m.guard(&err)()
	m.stuck = true
	m.db, err = bbolt.Open(metaFile, 0, &bbolt.Options{
		ReadOnly: true, Timeout: lockTimeout,
		OpenFile: func(name string, _ int, _ os.FileMode) (_ *os.File, err error) {
			m.file, err = d.root.Open(name, 0)
			return m.file, err
		},
	})
	m.stuck = false
	if errors.Is(err, berrors.ErrTimeout) {
		return errRunning
	}
	return err
}

func (m *meta) close() error {
	switch {
	case m == nil:
		return nil
	case m.stuck:
		return m.file.Close() // this gives up the lock
	}
	return m.db.Close()
}

// errDamaged is for a database that makes bbolt panic.
var errDamaged = errors.New("the database is damaged")

// guard begins a use of the database by this goroutine, and returns what ends it. A damaged
// one makes bbolt panic, or read behind the end of the file that it has mapped, which would
// end the process: both become an error.
func (m *meta) guard(err *error) (end func()) {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if *err != nil {
			*err = fmt.Errorf("%s: %w", m.path, *err)
		}
	}
}

// view calls use with the value of a key, or with nil if there is none.
func (m *meta) view(bucket, key string, use func(value []byte) error) error {
	if m == nil {
		return use(nil)
	}
	return m.read(bucket, func(b *bbolt.Bucket) error {
		if b == nil {
			return use(nil)
		}
		return use(b.Get([]byte(key)))
	})
}

// each calls use with every key and its value.
func (m *meta) each(bucket string, use func(key string, value []byte) error) error {
	if m == nil {
		return nil
	}
	return m.read(bucket, func(b *bbolt.Bucket) error {
		if b == nil {
			return nil
		}
		return b.ForEach(func(key, value []byte) error { return use(string(key), value) })
	})
}

// read calls use with a bucket, or with nil if there is none.
func (m *meta) read(bucket string, use func(*bbolt.Bucket) error) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.guard(&err)()
	if m.stuck {
		return errDamaged
	}
	m.stuck = true
	tx, err := m.db.Begin(false)
	m.stuck = false
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := m.walk(tx.Cursor().Bucket()); err != nil { // which has the buckets
		return err
	}
	b := tx.Bucket([]byte(bucket))
	if b != nil {
		if err := m.walk(b); err != nil {
			return err
		}
	}
	return use(b)
}

// walk looks at the pages of a bucket, once. zot's lock keeps them as they are.
func (m *meta) walk(b *bbolt.Bucket) error {
	root := uint64(b.Root())
	if root == 0 || m.walked[root] { // 0: it is small, and within its parent
		return nil
	}
	fi, err := m.file.Stat()
	if err != nil {
		return err
	}
	size := int64(m.db.Info().PageSize)
	p := pages{m.file, size, uint64(fi.Size() / size), map[uint64]bool{}}
	if err := p.walk(root, 0); err != nil {
		return err
	}
	m.walked[root] = true
	return nil
}

// repository is what is known of a repository's tags and manifests.
type repository struct {
	tagged     map[string]time.Time
	statistics map[digest.Digest]statistics
}

type statistics struct {
	pulled, pushed time.Time
	by             string
}

// repository reads a message RepoMeta (zot's pkg/meta/proto/meta/meta.proto):
//
//	2 map of tag to    { 2 digest, 3 time of the tag }
//	3 map of digest to { 2 last pull, 3 push, 4 who pushed }
func (m *meta) repository(name string) (repository, error) {
	known := repository{map[string]time.Time{}, map[digest.Digest]statistics{}}
	err := m.view(reposBucket, name, func(value []byte) error {
		return fields(value, func(number protowire.Number, v field) error {
			if number != 2 && number != 3 {
				return nil
			}
			key, message, err := entry(v.bytes)
			if err != nil {
				return err
			}
			if number == 2 {
				return fields(message, func(number protowire.Number, v field) (err error) {
					if number == 3 {
						known.tagged[key], err = timestamp(v.bytes)
					}
					return err
				})
			}
			var s statistics
			err = fields(message, func(number protowire.Number, v field) (err error) {
				switch number {
				case 2:
					s.pulled, err = timestamp(v.bytes)
				case 3:
					s.pushed, err = timestamp(v.bytes)
				case 4:
					s.by = string(v.bytes)
				}
				return err
			})
			known.statistics[digest.Digest(key)] = s
			return err
		})
	})
	return known, err
}

// field is the value of a field: a number, or bytes.
type field struct {
	number uint64
	bytes  []byte
}

// fields calls use for each field of a message that is a varint or has a length.
func fields(message []byte, use func(number protowire.Number, v field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var v field
		switch kind {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
			number = 0 // no field that is asked for
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := use(number, v); err != nil {
			return err
		}
	}
	return nil
}

// entry reads one entry of a map with a text as key and a message as value.
func entry(message []byte) (key string, value []byte, err error) {
	err = fields(message, func(number protowire.Number, v field) error {
		switch number {
		case 1:
			key = string(v.bytes)
		case 2:
			value = v.bytes
		}
		return nil
	})
	return key, value, err
}

// timestamp reads a google.protobuf.Timestamp. The zero time of Go, which zot writes where
// nothing has happened, is the zero time again.
func timestamp(message []byte) (time.Time, error) {
	var seconds, nanos int64
	err := fields(message, func(number protowire.Number, v field) error {
		switch number {
		case 1:
			seconds = int64(v.number)
		case 2:
			nanos = int64(v.number)
		}
		return nil
	})
	if at := time.Unix(seconds, nanos).UTC(); err == nil && at.Unix() > 0 {
		return at, nil
	}
	return time.Time{}, err
}

// clip shortens what a message quotes.
func clip(value []byte) []byte { return value[:min(len(value), 40)] }
