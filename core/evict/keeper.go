package evict

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Pulled implements mirror.Keeper. A pull marks the requested manifest. That is enough: a client
// that pulls an image requests its index first, and an index counts as pulled when one of its
// platforms is. Blobs are not marked, because one may belong to many images; a client that
// requests only blobs has requested their manifest before.
func (e *Evictor) Pulled(repo string, d digest.Digest, tag, by string) {
	e.Pulls.Mark(repo, d, tag, by)
}

// Room implements mirror.Keeper. When little space is free, eviction begins, and downloads are
// kept meanwhile until half of MinFree is left. When that half is used too, or nothing is left to
// evict, mirrors keep nothing more.
func (e *Evictor) Room(size int64) bool {
	free, total, err := e.Disk.Space()
	if err != nil {
		return true // not known; a writer notices a full disk
	}
	e.mu.Lock()
	var least int64
	if e.settings != nil {
		least = e.settings.MinFree.Of(total)
	}
	full := e.full
	e.mu.Unlock()
	free -= max(size, 0)
	if free >= least {
		return true
	}
	e.passes.Poke()
	return !full && free >= least/2
}

// Kept implements mirror.Keeper.
func (e *Evictor) Kept(repo string, size int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil || e.settings == nil {
		return // the first pass is about to count it
	}
	name := mirrorOf(repo)
	e.held[name] += size
	if most := e.settings.limits(name).MaxSize; most > 0 && e.held[name] > most {
		e.passes.Poke()
	}
}

// Spare reports whether size more bytes may be kept although no client waits for them: there is
// room, and MaxSize of the mirror allows them without an eviction. Errors: the mirror's size is not
// known yet, and cannot be measured.
func (e *Evictor) Spare(ctx context.Context, repo string, size int64) (bool, error) {
	if !e.Room(size) {
		return false, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.settings == nil {
		return true, nil
	}
	name := mirrorOf(repo)
	most := e.settings.limits(name).MaxSize
	if most <= 0 {
		return true, nil
	}
	if e.held == nil {
		e.mu.Unlock()
		held, err := e.measure(ctx)
		e.mu.Lock()
		if err != nil {
			return false, err
		}
		if e.held == nil {
			e.held = held
		}
	}
	return e.held[name]+max(size, 0) <= most, nil
}
