package events

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/lasting"
)

// The rows. IDs have 8 bytes, the most significant first, so that they sort. The buckets other
// than the first lead to its rows, and have no values.
var (
	eventsBucket = []byte("events 1") // ID -> sealed Event
	reposBucket  = []byte("repos 1")  // repository 0 ID
	usersBucket  = []byte("users 1")  // user 0 ID
	kindsBucket  = []byte("kinds 1")  // kind 0 ID
	sharesBucket = []byte("shares 1") // name of the share 0 ID
	countsBucket = []byte("counts 1") // name of the share -> sealed count
)

var buckets = [][]byte{eventsBucket, reposBucket, usersBucket, kindsBucket, sharesBucket, countsBucket}

// maxForgotten bounds the events that one transaction forgets.
const maxForgotten = 10_000

func idKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// indexKey is the key of an event in a bucket that leads to it.
func indexKey(name string, id uint64) []byte {
	k := make([]byte, 0, len(name)+9)
	return binary.BigEndian.AppendUint64(append(append(k, name...), 0), id)
}

// nameOf is the name of a share in the file.
func nameOf(s Share) string { return [...]string{"changes", "logins", "refusals", "rounds"}[s] }

// leads are the keys that lead to an event, each with its bucket.
func (e Event) leads() (all []lead) {
	for _, one := range []struct {
		bucket []byte
		name   string
	}{{reposBucket, e.Repo}, {usersBucket, e.User}, {kindsBucket, e.Kind}, {sharesBucket, nameOf(ShareOf(e.Kind))}} {
		if one.name != "" {
			all = append(all, lead{one.bucket, indexKey(one.name, e.ID)})
		}
	}
	return all
}

type lead struct{ bucket, key []byte }

// write writes a batch in one transaction and forgets what is too much or too old. If the file has
// events that are not older, because the clock was set back or the file could not be read
// before, the batch gets IDs behind them: moved is by how much.
func (l *Log) write(batch []Event, now time.Time) (moved uint64, err error) {
	err = l.file.Update(func(tx *bbolt.Tx) error {
		moved = 0
		all := tx.Bucket(eventsBucket)
		if k, _ := all.Cursor().Last(); len(k) == 8 && len(batch) > 0 {
			if newest := binary.BigEndian.Uint64(k); newest >= batch[0].ID {
				moved = newest + 1 - batch[0].ID
			}
		}
		var counts [shares]uint64
		for share := range counts {
			var err error
			if counts[share], err = count(tx, Share(share)); err != nil {
				return err
			}
		}
		for _, e := range batch {
			e.ID += moved
			if err := put(tx, e); err != nil {
				return err
			}
			counts[ShareOf(e.Kind)]++
		}
		return l.forget(tx, &counts, now)
	})
	return moved, err
}

// newest is the ID of the newest event in the file, or 0.
func (l *Log) newest() (id uint64) {
	// A file that cannot be read has been reported.
	_ = l.file.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(eventsBucket).Cursor().Last(); len(k) == 8 {
			id = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return id
}

func put(tx *bbolt.Tx, e Event) error {
	key := idKey(e.ID)
	if err := tx.Bucket(eventsBucket).Put(key, lasting.Seal(key, e.encode())); err != nil {
		return err
	}
	for _, lead := range e.leads() {
		if err := tx.Bucket(lead.bucket).Put(lead.key, nil); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the oldest events of each share that has too many, and those that are older than
// MaxAge, and writes the counts.
func (l *Log) forget(tx *bbolt.Tx, counts *[shares]uint64, now time.Time) error {
	oldest := uint64(max(0, now.Add(-MaxAge).UnixMicro()))
	left := maxForgotten
	for share := range counts {
		name := nameOf(Share(share))
		prefix := append([]byte(name), 0)
		for ; left > 0; left-- {
			k, _ := tx.Bucket(sharesBucket).Cursor().Seek(prefix)
			if len(k) != len(prefix)+8 || !bytes.HasPrefix(k, prefix) {
				break
			}
			id := binary.BigEndian.Uint64(k[len(prefix):])
			if counts[share] <= uint64(l.most[share]) && id >= oldest {
				break
			}
			if err := remove(tx, id); err != nil {
				return err
			}
			counts[share]--
		}
		key := []byte(name)
		row := lasting.Seal(key, binary.BigEndian.AppendUint64(nil, counts[share]))
		if err := tx.Bucket(countsBucket).Put(key, row); err != nil {
			return err
		}
	}
	return nil
}

func remove(tx *bbolt.Tx, id uint64) error {
	e, err := get(tx, id)
	if err != nil {
		return err
	}
	for _, lead := range e.leads() {
		if err := tx.Bucket(lead.bucket).Delete(lead.key); err != nil {
			return err
		}
	}
	return tx.Bucket(eventsBucket).Delete(idKey(id))
}

// get reads an event. Errors: lasting.ErrDamaged, also if it is missing.
func get(tx *bbolt.Tx, id uint64) (e Event, err error) {
	key := idKey(id)
	data, err := lasting.Unseal(key, tx.Bucket(eventsBucket).Get(key))
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%w: %w", lasting.ErrDamaged, err)
	}
	e.ID = id
	return e, nil
}

// count is how many events of a share the file has.
func count(tx *bbolt.Tx, s Share) (uint64, error) {
	key := []byte(nameOf(s))
	row := tx.Bucket(countsBucket).Get(key)
	if row == nil {
		return 0, nil
	}
	data, err := lasting.Unseal(key, row)
	if err != nil {
		return 0, err
	}
	if len(data) != 8 {
		return 0, fmt.Errorf("%w: a count has %d bytes", lasting.ErrDamaged, len(data))
	}
	return binary.BigEndian.Uint64(data), nil
}
