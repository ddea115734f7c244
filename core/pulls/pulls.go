package pulls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// interval is between two writes: what was marked is in the bucket within a minute.
	interval = 30 * time.Second
	// maxMarked bounds what waits in memory, in manifests of some 200 bytes. When it is
	// reached the writer is woken; what it is too slow for is not remembered.
	maxMarked = 1 << 16
	// component ends a repository's key. None of a name's components begins with _.
	component = "/_pulls"
)

// Config is what Times are made of.
type Config struct {
	// Bucket keeps the times under keys that begin with Prefix. It stays the
	// caller's, and is closed after the Times.
	Bucket bucket.Bucket
	Prefix string
	// Log receives what an operator should know. Default: discard.
	Log *slog.Logger
}

// Times are when manifests were last pulled. They are safe for concurrent use.
type Times struct {
	bucket bucket.Bucket
	prefix string
	log    *slog.Logger

	mu     sync.Mutex // guards marked and waiting
	marked map[string]map[digest.Digest]time.Time
	wait   int // manifests in marked

	writing    sync.Mutex // held while an object is read and written again
	wake       chan struct{}
	stop       context.CancelFunc
	background sync.WaitGroup
}

// record is the object of a repository.
type record struct {
	Manifests map[digest.Digest]time.Time `json:"manifests"`
}

// New begins to remember. Close ends it.
func New(c Config) *Times {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Times{
		bucket: c.Bucket, prefix: c.Prefix, log: c.Log,
		marked: map[string]map[digest.Digest]time.Time{}, wake: make(chan struct{}, 1),
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.background.Go(func() { t.run(ctx) })
	return t
}

// run writes behind until ctx ends.
func (t *Times) run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-t.wake:
		}
		if err := t.Flush(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("times of pulls cannot be written; they are kept in memory", "error", err)
		}
	}
}

// Close writes what is in memory. Mark may not be called after it.
func (t *Times) Close() error {
	t.stop()
	t.background.Wait()
	return t.Flush(context.Background())
}

// Mark notes that a manifest of repo is pulled now. It does no I/O.
func (t *Times) Mark(repo string, d digest.Digest) {
	now := time.Now().UTC()
	t.mu.Lock()
	full := t.markLocked(repo, d, now)
	t.mu.Unlock()
	if full {
		select {
		case t.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// markLocked keeps the later of two times, and tells whether it had no room.
func (t *Times) markLocked(repo string, d digest.Digest, at time.Time) (full bool) {
	of := t.marked[repo]
	last, ok := of[d]
	switch {
	case ok && !at.After(last):
		return false
	case !ok && t.wait >= maxMarked:
		return true
	case !ok:
		t.wait++
	}
	if of == nil {
		of = map[digest.Digest]time.Time{}
		t.marked[repo] = of
	}
	of[d] = at
	return false
}

// Of returns when the manifests of repo were last pulled, as far as that is known.
// Errors are the bucket's.
func (t *Times) Of(ctx context.Context, repo string) (map[digest.Digest]time.Time, error) {
	t.writing.Lock() // or a mark on its way from memory to the bucket were in neither
	defer t.writing.Unlock()
	times, err := t.read(ctx, repo)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	merge(times, t.marked[repo])
	return times, nil
}

// merge keeps the later of two times in into.
func merge(into, from map[digest.Digest]time.Time) {
	for d, at := range from {
		if at.After(into[d]) {
			into[d] = at
		}
	}
}

// read returns what the bucket has. A damaged object is statistics lost.
func (t *Times) read(ctx context.Context, repo string) (map[digest.Digest]time.Time, error) {
	data, _, err := t.bucket.Get(ctx, t.key(repo))
	if err != nil && !errors.Is(err, bucket.ErrNotExist) {
		return nil, fmt.Errorf("times of pulls of %s: %w", repo, err)
	}
	var r record
	if err == nil {
		if err := json.Unmarshal(data, &r); err != nil {
			t.log.Warn("times of pulls are damaged, and begun again", "repository", repo, "error", err)
			r = record{}
		}
	}
	if r.Manifests == nil {
		r.Manifests = map[digest.Digest]time.Time{}
	}
	return r.Manifests, nil
}

func (t *Times) key(repo string) string { return t.prefix + repo + component }

// Flush writes what was marked. What cannot be written waits for the next time.
func (t *Times) Flush(ctx context.Context) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	marked := t.marked
	t.marked, t.wait = map[string]map[digest.Digest]time.Time{}, 0
	t.mu.Unlock()
	var failed []error
	for repo, of := range marked {
		err := t.update(ctx, repo, func(times map[digest.Digest]time.Time) { merge(times, of) })
		if err == nil {
			continue
		}
		failed = append(failed, err)
		t.mu.Lock()
		for d, at := range of {
			t.markLocked(repo, d, at)
		}
		t.mu.Unlock()
	}
	return errors.Join(failed...)
}

// update changes a repository's object. The caller holds writing.
func (t *Times) update(ctx context.Context, repo string, change func(map[digest.Digest]time.Time)) error {
	times, err := t.read(ctx, repo)
	if err != nil {
		return err
	}
	change(times)
	key := t.key(repo)
	if len(times) == 0 {
		if err := t.bucket.Delete(ctx, key, bucket.Condition{}); err != nil && !errors.Is(err, bucket.ErrNotExist) {
			return fmt.Errorf("times of pulls of %s: %w", repo, err)
		}
		return nil
	}
	data, err := json.Marshal(record{times})
	if err == nil {
		// Not synced: a power cut may take it back, as a kill takes what is in memory.
		_, err = t.bucket.Put(ctx, key, data, bucket.Condition{})
	}
	if err != nil {
		return fmt.Errorf("times of pulls of %s: %w", repo, err)
	}
	return nil
}

// Retain forgets the manifests of repo that held denies. Errors are the bucket's.
func (t *Times) Retain(ctx context.Context, repo string, held func(digest.Digest) bool) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	for d := range t.marked[repo] {
		if !held(d) {
			delete(t.marked[repo], d)
			t.wait--
		}
	}
	if len(t.marked[repo]) == 0 {
		delete(t.marked, repo)
	}
	t.mu.Unlock()
	times, err := t.read(ctx, repo)
	if err != nil {
		return err
	}
	for d := range times {
		if !held(d) {
			return t.update(ctx, repo, func(times map[digest.Digest]time.Time) {
				for d := range times {
					if !held(d) {
						delete(times, d)
					}
				}
			})
		}
	}
	return nil
}

// Repositories yields the repositories that the bucket has times of, in no order.
func (t *Times) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info, err := range t.bucket.List(ctx, t.prefix, "") {
			repo, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, t.prefix), component)
			if (ok || err != nil) && !yield(repo, err) {
				return
			}
		}
	}
}
