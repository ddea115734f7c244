package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/ledger"
)

const (
	// maxDirty bounds the ledger: beyond it everything is synced in the background, so that
	// unsynced writes do not fill the memory.
	maxDirty = 8192
	// maxRounds bounds how often Sync follows directories that others remove and make again
	// meanwhile. Two rounds are usual; more need an unlikely coincidence.
	maxRounds = 16
	// gonePause is added before each further round: a tenth of a second in all,
	// for what takes the other side some microseconds.
	gonePause = time.Millisecond
)

// Sync implements bucket.Barrier. It first waits for the bytes of committed uploads,
// whose syncs have been running since their Commit, and then for all directories
// at once: on a journaling file system that is one commit for all of them.
func (b *Bucket) Sync(ctx context.Context, keys ...string) error {
	paths := make([]string, len(keys))
	for i, key := range keys {
		path, err := objectPath(key)
		if err != nil {
			return err
		}
		paths[i] = path
	}
	for _, key := range keys {
		if p := b.overlay.get(key); p != nil {
			select {
			case <-p.done:
			case <-ctx.Done():
				return fmt.Errorf("sync %s: %w", key, ctx.Err())
			}
		}
	}
	err := b.syncEntries(ctx, func() (waits []ledger.Wait, err error) {
		for _, path := range paths {
			waits = b.ledger.Need(waits, path)
			if waits, err = b.needPending(waits, path); err != nil {
				return nil, err
			}
		}
		return waits, nil
	})
	if err != nil {
		return err
	}
	for i, path := range paths {
		if cause := b.ledger.LostBy(path); cause != nil {
			return syncError(keys[i], cause)
		}
	}
	return nil
}

// needPending adds the entry in pending/ of an object that is absent: it would come
// back from there after a power cut. A present object does not need it.
func (b *Bucket) needPending(waits []ledger.Wait, path string) ([]ledger.Wait, error) {
	name, ok := pendingName(strings.TrimPrefix(path, objectsDir+"/"))
	if !ok {
		return waits, nil
	}
	if _, changed := b.ledger.Changed(pendingDir + "/" + name); !changed {
		return waits, nil
	}
	if kind, _ := b.ledger.Changed(path); kind == ledger.Created || kind == ledger.Replaced {
		return waits, nil
	}
	if _, err := b.folders.Lstat(path); err == nil {
		return waits, nil
	} else if !absent(err) {
		return nil, fmt.Errorf("sync %s: %w", path, err)
	}
	return b.ledger.Need(waits, pendingDir+"/"+name), nil
}

// syncEntries syncs the directories that need names, all at once, and again when one of them
// was removed meanwhile: then the entry in its parent counts.
func (b *Bucket) syncEntries(ctx context.Context, need func() ([]ledger.Wait, error)) error {
	for round := range maxRounds {
		// A directory that is announced but does not exist yet is about to be made.
		if err := pause(ctx, time.Duration(round)*gonePause); err != nil {
			return err
		}
		waits, err := need()
		if err != nil {
			return err
		}
		runs := make([]*ledger.Run, len(waits))
		for i, w := range waits {
			runs[i] = b.startDir(w)
		}
		gone := false
		for i, run := range runs {
			if run == nil {
				continue
			}
			select {
			case <-run.Done:
			case <-ctx.Done():
				return fmt.Errorf("sync %s: %w", waits[i].Path, ctx.Err())
			}
			if run.Err != nil && err == nil {
				err = syncError(waits[i].Path, run.Err)
			}
			gone = gone || run.Gone
		}
		if err != nil || !gone {
			return err
		}
	}
	return fmt.Errorf("%w: a directory was removed and made again %d times", bucket.ErrSync, maxRounds)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sync: %w", ctx.Err())
	}
}

// startDir makes sure that a run covers w, and returns it, or nil if w is durable.
func (b *Bucket) startDir(w ledger.Wait) *ledger.Run {
	run, start := b.ledger.Join(w)
	if start {
		b.work.Add(1)
		go b.syncLoop(w.Dir)
	}
	return run
}

// syncLoop syncs one directory until no caller waits for it. It outlives the call that
// started it: others may have joined. Close waits for it.
func (b *Bucket) syncLoop(dir string) {
	defer b.work.Done()
	for {
		// The run covers every change until its turn.
		t := b.storage.syncs.Turn()
		run := b.ledger.Next(dir)
		if run == nil {
			t.End()
			return
		}
		err := b.syncDirIn(t, dir)
		t.End()
		if absent(err) {
			run.Gone, err = true, nil
		}
		if run.Err = err; err == nil {
			b.ledger.Succeed(dir, run)
		} else {
			b.storage.config.Log.Error("directory sync failed; entries created since the last sync are dropped", "directory", dir, "error", err)
			b.dropCreated(dir, run)
		}
		close(run.Done)
	}
}

// dropCreated removes what a failed run leaves in doubt.
func (b *Bucket) dropCreated(dir string, run *ledger.Run) {
	files, dirs := b.ledger.Fail(dir, run)
	for _, path := range files {
		b.drop(path, run.Err)
	}
	for _, path := range dirs {
		// No content below a directory that never became durable was acknowledged.
		b.dropTree(path, run.Err)
	}
}

// dropTree removes the objects below a directory, and the directory unless something is written
// into it meanwhile. In that case its entry stays in the ledger, and the writer syncs it.
func (b *Bucket) dropTree(dir string, cause error) {
	entries, err := b.readDir(dir)
	if err != nil && !absent(err) {
		b.storage.config.Log.Error("removing entries after a failed sync failed", "directory", dir, "error", err)
		return
	}
	for _, entry := range entries {
		path := dir + "/" + entry.Name()
		if entry.IsDir() {
			b.dropTree(path, cause)
			continue
		}
		b.ledger.Lose(path, cause)
		b.drop(path, cause)
	}
	b.removeDir(dir)
}

// drop removes an object that was lost, unless it was written again meanwhile.
func (b *Bucket) drop(path string, cause error) {
	defer b.lockPath(path)()
	if b.ledger.LostBy(path) == nil {
		return
	}
	if err := b.remove(path); err != nil && !absent(err) {
		b.storage.config.Log.Error("removing entries after a failed sync failed", "object", path, "error", err)
	}
	b.ledger.Lose(path, cause) // again, because the removal is a change that forgot it
}

// flush syncs all that is dirty, in the background, when the ledger is large.
func (b *Bucket) flush() {
	if b.ledger.Size() < maxDirty || !b.flushing.CompareAndSwap(false, true) {
		return
	}
	b.work.Add(1)
	go func() {
		defer b.work.Done()
		defer b.flushing.Store(false)
		if err := b.syncAll(); err != nil {
			b.storage.config.Log.Error("background sync failed", "error", err)
		}
	}()
}

// syncAll makes everything durable that is visible now.
func (b *Bucket) syncAll() error {
	waits := b.ledger.Dirty()
	return b.syncEntries(context.Background(), func() ([]ledger.Wait, error) {
		now := waits
		waits = nil
		return now, nil
	})
}

func syncError(what string, cause error) error {
	return fmt.Errorf("sync %s: %w: %w", what, bucket.ErrSync, noSpace(cause))
}

// absent reports whether an error means that a path does not lead to a file.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDirectory)
}
