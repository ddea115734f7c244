package coretest

import (
	"context"
	"slices"

	"github.com/eblume/caddy-registry/core/bucket"
)

// listed is in byte order of the whole key. "-" and "." sort before "/", which a
// walk of directories gets wrong; "+" and capitals are where one that sorts file
// names does.
var listed = []string{
	"Z/last", "a-b/x", "a.b", "a/B", "a/b-c/x", "a/b.c", "a/b/c", "a/b/d/E", "a/b/d/e", "a/b0", "a0/x", "aB", "ab/c", "b",
}

// fill puts listed, half of it as uploads, in another order.
func (f *bucketFixture) fill() {
	f.Helper()
	for i, key := range slices.Backward(listed) {
		if i%2 == 0 {
			f.put(key, key, ifAbsent)
		} else {
			f.commit(f.upload(key), key)
		}
	}
}

var listClauses = []bucketClause{
	{"keys come in byte order of the whole key", func(f *bucketFixture) {
		f.fill()
		f.lists("", "", listed...)
		f.sync(listed...)
		f.lists("", "", listed...)
		f.reopen()
		f.lists("", "", listed...)
	}},
	{"a prefix need not end at a slash", func(f *bucketFixture) {
		f.fill()
		for _, prefix := range []string{"a", "a/", "a/b", "a/b/", "a/b/d/E", "ab", "a-", "Z", "c", "a/x/y/"} {
			var want []string
			for _, key := range listed {
				if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
					want = append(want, key)
				}
			}
			f.lists(prefix, "", want...)
		}
	}},
	{"the list goes on after any string", func(f *bucketFixture) {
		f.fill()
		for _, after := range append([]string{"a", "a/", "a/b", "a/b/", "a/b/d", "a/b/zzz", "zz", "a-"}, listed...) {
			var want, below []string
			for _, key := range listed {
				if key <= after {
					continue
				}
				want = append(want, key)
				if len(key) > 2 && key[:2] == "a/" {
					below = append(below, key)
				}
			}
			f.lists("", after, want...)
			f.lists("a/", after, below...)
		}
	}},
	{"each entry is described as stat does", func(f *bucketFixture) {
		f.fill()
		f.sync(listed...)
		for info, err := range f.b.List(f.ctx, "", "") {
			if err != nil {
				f.Fatal(err)
			}
			if stat, err := f.b.Stat(f.ctx, info.Key); err != nil || stat != info {
				f.Errorf("got %+v, want %+v (%v)", info, stat, err)
			}
		}
	}},
	{"what was deleted is not listed", func(f *bucketFixture) {
		f.fill()
		for _, key := range listed[1:] {
			f.delete(key)
		}
		f.lists("", "", listed[0])
	}},
	{"the reader may stop, delete what it sees, or give up", func(f *bucketFixture) {
		f.fill()
		for range f.b.List(f.ctx, "", "") {
			break
		}
		for info, err := range f.b.List(f.ctx, "", "") {
			if err != nil {
				f.Fatal(err)
			}
			f.delete(info.Key)
		}
		f.lists("", "")
		f.put("k", "x", always)
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		var last error
		for _, err := range f.b.List(ctx, "", "") {
			last = err
		}
		f.want("list with a context that has ended", last, context.Canceled)
	}},
	{"an invalid prefix is an error", func(f *bucketFixture) {
		for _, prefix := range []string{"../", "a//", "/"} {
			var last error
			for _, err := range f.b.List(f.ctx, prefix, "") {
				last = err
			}
			f.want("list "+prefix, last, bucket.ErrKeyInvalid)
		}
	}},
}
