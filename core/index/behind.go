package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core/store"
)

const (
	// batch is how many changes of the catalog are written at once at most, and delay how long
	// the first of them waits for others: one transaction for 100 pushes costs little more than
	// one for each push's names.
	batch = 100
	delay = 100 * time.Millisecond
)

// queue has the changes that are not written yet, in their order: fewer than batch and of less than
// maxWeight, and one more for each request that is adding one.
type queue struct {
	flushing sync.Mutex // held while changes are written, so that they stay in order
	mu       sync.Mutex // guards the fields below
	changes  []store.Change
	heavy    int // their weight
	timer    *time.Timer
}

func (q *queue) init(flush func()) {
	q.timer = time.AfterFunc(delay, flush)
	q.timer.Stop()
}

func (q *queue) add(c store.Change) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changes = append(q.changes, c)
	q.heavy += weight(&c)
	if len(q.changes) == 1 {
		q.timer.Reset(delay)
	}
	return len(q.changes) >= batch || q.heavy >= maxWeight
}

func (q *queue) take() []store.Change {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timer.Stop()
	changes := q.changes
	q.changes, q.heavy = nil, 0
	return changes
}

// Apply implements store.Projection. Who fills the queue writes it.
func (x *Index) Apply(c store.Change) {
	if x.behind.add(c) {
		x.flush()
	}
}

// flush writes what is in the queue. If it cannot, the index is not Ready until a rebuild.
func (x *Index) flush() {
	x.behind.flushing.Lock()
	defer x.behind.flushing.Unlock()
	changes := x.behind.take()
	if len(changes) == 0 {
		return
	}
	if err := x.apply(changes, false); err != nil && !errors.Is(err, store.ErrDamaged) {
		x.damaged(fmt.Errorf("write index: %w", err))
		x.Distrust()
	}
}

// Whole implements store.Projection.
func (x *Index) Whole() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.whole && x.ready.Load()
}

// errRenewed is the error of a Describe whose file was replaced: it may be past rows that the
// new file lacks.
var errRenewed = errors.New("the index was begun anew while its catalog was filled")

// Describe implements store.Projection.
func (x *Index) Describe(ctx context.Context, scan iter.Seq2[store.Change, error]) error {
	x.flush()
	epoch := x.beginDescribe()
	defer x.endDescribe(epoch)
	pending, heavy := make([]store.Change, 0, batch), 0
	for c, err := range scan {
		if err != nil {
			return err
		}
		heavy += weight(&c)
		if pending = append(pending, c); len(pending) < batch && heavy < maxWeight {
			continue
		}
		if err := x.addScanned(ctx, pending, epoch); err != nil {
			return err
		}
		clear(pending)
		pending, heavy = pending[:0], 0
	}
	if err := x.addScanned(ctx, pending, epoch); err != nil {
		return err
	}
	return x.update(func(tx *bbolt.Tx) error {
		format := tx.Bucket(formatBucket)
		if x.epoch != epoch || x.distrusted || format == nil {
			return errRenewed
		}
		tx.OnCommit(func() { x.whole = true })
		return format.Put(wholeKey, []byte{1})
	})
}

// addScanned applies changes of a scan behind those that came meanwhile.
func (x *Index) addScanned(ctx context.Context, changes []store.Change, epoch int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.flush()
	x.mu.Lock()
	renewed := x.epoch != epoch
	x.mu.Unlock()
	if renewed {
		return errRenewed
	}
	return x.apply(changes, true)
}

func (x *Index) beginDescribe() (epoch int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = map[string]struct{}{}
	return x.epoch
}

func (x *Index) endDescribe(epoch int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.epoch == epoch {
		x.gone = nil
	}
}
