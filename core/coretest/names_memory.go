package coretest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/store"
)

// MemoryNames are store.Names in memory, for tests of what stands on a store. The zero value
// has nothing and is not Ready.
type MemoryNames struct {
	mu    sync.Mutex
	ready bool
	rows  map[nameKey]digest.Digest
	// written has the keys of all writes since the last rebuild began.
	written map[nameKey]bool
	// distrusted reports whether Distrust was called since then.
	distrusted bool
}

// nameKey is a manifest if tag is empty; d is then its digest.
type nameKey struct {
	repo, tag string
	d         digest.Digest
}

var _ store.Names = (*MemoryNames)(nil)

// Ready implements store.Names.
func (m *MemoryNames) Ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

// Distrust implements store.Names.
func (m *MemoryNames) Distrust() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready, m.distrusted = false, true
}

// Close implements store.Names.
func (m *MemoryNames) Close() error { return nil }

// Rebuild implements store.Names.
func (m *MemoryNames) Rebuild(ctx context.Context, scan iter.Seq2[store.NameRow, error]) error {
	m.mu.Lock()
	m.ready, m.distrusted, m.rows, m.written = false, false, nil, nil
	m.mu.Unlock()
	for row, err := range scan {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		key := nameKey{repo: row.Repo, tag: row.Tag}
		if row.Tag == "" {
			key.d = row.Digest
		}
		m.mu.Lock()
		if !m.written[key] {
			m.setLocked(key, row.Digest)
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.distrusted {
		return errors.New("a write failed during the rebuild")
	}
	m.ready = true
	return nil
}

func (m *MemoryNames) setLocked(key nameKey, d digest.Digest) {
	if m.rows == nil {
		m.rows = map[nameKey]digest.Digest{}
	}
	m.rows[key] = d
}

// write puts a row, or deletes it.
func (m *MemoryNames) write(key nameKey, d digest.Digest, put bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written == nil {
		m.written = map[nameKey]bool{}
	}
	m.written[key] = true
	if put {
		m.setLocked(key, d)
	} else {
		delete(m.rows, key)
	}
	return nil
}

// PutManifest implements store.Names.
func (m *MemoryNames) PutManifest(repo string, d digest.Digest) error {
	return m.write(nameKey{repo: repo, d: d}, d, true)
}

// PutTag implements store.Names.
func (m *MemoryNames) PutTag(repo, tag string, d digest.Digest) error {
	return m.write(nameKey{repo: repo, tag: tag}, d, true)
}

// DeleteManifest implements store.Names.
func (m *MemoryNames) DeleteManifest(repo string, d digest.Digest) error {
	return m.write(nameKey{repo: repo, d: d}, d, false)
}

// DeleteTag implements store.Names.
func (m *MemoryNames) DeleteTag(repo, tag string) error {
	return m.write(nameKey{repo: repo, tag: tag}, "", false)
}

// list returns the names that of finds in the rows, in order and once each.
func (m *MemoryNames) list(after string, of func(nameKey) (string, bool)) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bool{}
	for key := range m.rows {
		if name, ok := of(key); ok && name > after {
			found[name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Repositories implements store.Names.
func (m *MemoryNames) Repositories(after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range m.list(after, func(k nameKey) (string, bool) { return k.repo, k.tag == "" }) {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Tags implements store.Names.
func (m *MemoryNames) Tags(repo, after string) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		for _, name := range m.list(after, func(k nameKey) (string, bool) { return k.tag, k.repo == repo && k.tag != "" }) {
			m.mu.Lock()
			d, ok := m.rows[nameKey{repo: repo, tag: name}]
			m.mu.Unlock()
			if ok && !yield(store.Tag{Name: name, Digest: d}, nil) {
				return
			}
		}
	}
}

// Manifests implements store.Names.
func (m *MemoryNames) Manifests(repo string) iter.Seq2[digest.Digest, error] {
	return func(yield func(digest.Digest, error) bool) {
		for _, name := range m.list("", func(k nameKey) (string, bool) { return string(k.d), k.repo == repo && k.tag == "" }) {
			if !yield(digest.Digest(name), nil) {
				return
			}
		}
	}
}

// HasRepository implements store.Names.
func (m *MemoryNames) HasRepository(repo string) (bool, error) {
	for range m.Manifests(repo) {
		return true, nil
	}
	return false, nil
}
