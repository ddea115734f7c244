package dir

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir/folders"
)

// List implements bucket.Bucket. A directory is read whole and sorted; directories outside of
// prefix and after are not read at all.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		base := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if base != "" {
			if _, err := encodeKey(strings.TrimSuffix(base, "/")); err != nil {
				yield(bucket.Info{}, err)
				return
			}
		}
		l := lister{b: b, ctx: ctx, prefix: prefix, after: after, yield: yield}
		// Taken before the tree is read: an object that is published meanwhile is seen twice,
		// and merged.
		l.pending = b.overlay.list(prefix, after)
		if l.dir(base) {
			l.flush("")
		}
	}
}

// lister is one run of List. Its methods return false when the run must end.
type lister struct {
	b             *Bucket
	ctx           context.Context
	prefix, after string
	pending       []bucket.Info // sorted, not yet yielded
	yield         func(bucket.Info, error) bool
}

// named is an entry of a directory under the name by which it sorts: a directory
// sorts as all the keys in it do, so with a slash ("a-b" < "a/").
type named struct {
	sort  string
	entry fs.DirEntry
}

// dir yields the keys that begin with base, which is empty or ends in a slash.
func (l *lister) dir(base string) bool {
	path := objectsDir
	if base != "" {
		encoded, err := encodeKey(strings.TrimSuffix(base, "/"))
		if err != nil {
			return l.yield(bucket.Info{}, err) && false
		}
		path += "/" + encoded
	}
	entries, err := l.b.readDir(path)
	if absent(err) {
		return true
	}
	if err != nil {
		return l.yield(bucket.Info{}, fmt.Errorf("list %s: %w", base, err)) && false
	}
	for _, e := range l.sorted(base, path, entries) {
		if err := l.ctx.Err(); err != nil {
			return l.yield(bucket.Info{}, err) && false
		}
		if e.entry.IsDir() {
			if !l.dir(base + e.sort) {
				return false
			}
			continue
		}
		fi, err := e.entry.Info()
		if absent(err) {
			continue
		}
		if err != nil {
			return l.yield(bucket.Info{}, fmt.Errorf("list %s: %w", base, err)) && false
		}
		if !l.flush(base+e.sort) || !l.yield(describe(base+e.sort, folders.StatusOf(fi)), nil) {
			return false
		}
	}
	return true
}

// sorted decodes the entries that can hold wanted keys.
func (l *lister) sorted(base, path string, entries []fs.DirEntry) []named {
	out := make([]named, 0, len(entries))
	for _, entry := range entries {
		name, ok := decodeName(entry.Name())
		if !ok || !(entry.IsDir() || entry.Type().IsRegular()) {
			l.b.foreign.Do(func() {
				l.b.storage.config.Log.Warn("foreign file in the bucket skipped; further ones are not logged", "path", path+"/"+entry.Name())
			})
			continue
		}
		if entry.IsDir() {
			name += "/"
		}
		if l.wanted(base+name, entry.IsDir()) {
			out = append(out, named{name, entry})
		}
	}
	slices.SortFunc(out, func(a, b named) int { return strings.Compare(a.sort, b.sort) })
	return out
}

// wanted reports whether key, or for a directory some key in it, is requested.
func (l *lister) wanted(key string, dir bool) bool {
	if !dir {
		return strings.HasPrefix(key, l.prefix) && key > l.after
	}
	return (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) &&
		(key > l.after || strings.HasPrefix(l.after, key))
}

// flush yields the pending objects before key, and drops the one that is key: the
// tree has it by now. An empty key is the end.
func (l *lister) flush(key string) bool {
	for len(l.pending) > 0 {
		info := l.pending[0]
		if key != "" && info.Key > key {
			return true
		}
		l.pending = l.pending[1:]
		if info.Key != key && !l.yield(info, nil) {
			return false
		}
	}
	return true
}
