package coretest

import (
	"errors"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
)

var uploadClauses = []bucketClause{
	{"what was appended becomes the object", func(f *bucketFixture) {
		u := f.upload("one ")
		f.append(u, "")
		f.append(u, "two")
		if got := u.Offset(); got != 7 {
			f.Errorf("got offset %d, want 7", got)
		}
		f.lacks("a/b")
		info := f.commit(u, "a/b")
		if got := f.has("a/b", "one two"); got != info {
			f.Errorf("got info %+v, want that of the commit, %+v", got, info)
		}
		f.sync("a/b")
		if got := f.has("a/b", "one two"); got != info {
			f.Errorf("got info %+v after the sync, want that of the commit, %+v", got, info)
		}
		f.uploads()
	}},
	{"more than one buffer is kept whole", func(f *bucketFixture) {
		data := strings.Repeat("0123456789abcde\n", 100_000)
		f.commit(f.upload(data), "large")
		f.has("large", data)
		f.commit(f.upload(""), "empty")
		f.has("empty", "")
		f.sync("large", "empty")
		f.has("large", data)
		f.has("empty", "")
	}},
	{"an object of the same size that is there stays as it is", func(f *bucketFixture) {
		f.put("put", "first!", always)
		f.commit(f.upload("first!"), "committed")
		for _, key := range []string{"put", "committed"} {
			for _, damaged := range []string{"", "another version"} {
				want := f.has(key, "first!")
				u := f.upload("second")
				if got, err := u.Commit(f.ctx, key, damaged); err != nil || got != want {
					f.Errorf("commit: got info %+v, %v, want %+v", got, err, want)
				}
				f.has(key, "first!")
				_, err := f.b.Upload(f.ctx, u.ID())
				f.want("upload after commit", err, bucket.ErrNotExist)
			}
		}
		f.uploads()
	}},
	{"an object that is damaged or of another size is replaced", func(f *bucketFixture) {
		f.put("put/short", "old", always)
		f.put("put/empty", "", ifAbsent)
		f.put("put/same", "first!", always)
		f.commit(f.upload("longer than that"), "committed/long")
		f.commit(f.upload("first!"), "committed/same")
		f.commit(f.upload("first!"), "committed/and/synced")
		f.sync("committed/and/synced")
		for _, key := range []string{"put/short", "put/empty", "put/same", "committed/long", "committed/same", "committed/and/synced"} {
			old, err := f.b.Stat(f.ctx, key)
			if err != nil {
				f.Fatal(err)
			}
			damaged := ""
			if old.Size == int64(len("second")) {
				damaged = old.Version
			}
			u := f.upload("second")
			info, err := u.Commit(f.ctx, key, damaged)
			if err != nil || info.Version == old.Version {
				f.Errorf("commit %s: got info %+v, %v, want another version than %s", key, info, err, old.Version)
			}
			if got := f.has(key, "second"); got != info {
				f.Errorf("got info %+v, want that of the commit, %+v", got, info)
			}
			_, err = f.b.Upload(f.ctx, u.ID())
			f.want("upload after commit", err, bucket.ErrNotExist)
			f.sync(key)
			f.has(key, "second")
		}
		f.uploads()
		f.reopen()
		f.has("committed/same", "second")
		f.delete("committed/same")
		f.sync("committed/same")
		f.lacks("committed/same")
	}},
	{"a committed object takes part in conditions", func(f *bucketFixture) {
		info := f.commit(f.upload("one"), "k")
		_, err := f.b.Put(f.ctx, "k", []byte("x"), ifAbsent)
		f.want("put if absent", err, bucket.ErrExist)
		_, err = f.b.Put(f.ctx, "k", nil, ifAbsent)
		f.want("put nothing if absent", err, bucket.ErrExist)
		f.put("k", "two", ifMatch(info.Version))
		f.sync("k")
		f.has("k", "two")
		f.commit(f.upload("three"), "l")
		f.delete("l")
		f.lacks("l")
		f.sync("l")
		f.lacks("l")
		f.commit(f.upload("four"), "l")
		f.has("l", "four")
	}},
	{"an upload is found by its id, the same one while it is open", func(f *bucketFixture) {
		u := f.upload("one")
		again, err := f.b.Upload(f.ctx, u.ID())
		if err != nil {
			f.Fatal(err)
		}
		f.append(again, " two")
		if u.Offset() != 7 || again.Offset() != 7 {
			f.Errorf("got offsets %d and %d, want 7 for both", u.Offset(), again.Offset())
		}
		again.Close()
		again.Close() // twice counts once
		f.append(u, " three")
		u.Close()
		if got, err := f.b.Upload(f.ctx, u.ID()); err != nil || got.Offset() != 13 {
			f.Errorf("found after close: got %v, %v, want offset 13", got, err)
		} else {
			f.commit(got, "k")
		}
		f.has("k", "one two three")
	}},
	{"an upload is found when the bucket is opened again", func(f *bucketFixture) {
		u := f.upload("one ")
		u.Close()
		left := f.upload("not closed")
		f.reopen()
		f.uploads(u.ID(), left.ID())
		again, err := f.b.Upload(f.ctx, u.ID())
		if err != nil {
			f.Fatal(err)
		}
		if again.Offset() != 4 {
			f.Errorf("got offset %d, want 4", again.Offset())
		}
		f.append(again, "two")
		f.commit(again, "k")
		f.has("k", "one two")
		f.uploads(left.ID())
	}},
	{"a committed object is there when the bucket is opened again", func(f *bucketFixture) {
		info := f.commit(f.upload("data"), "a/B")
		f.reopen()
		if got := f.has("a/B", "data"); got != info {
			f.Errorf("got info %+v, want %+v", got, info)
		}
	}},
	{"the bytes before an error are kept", func(f *bucketFixture) {
		u := f.upload("")
		n, err := u.Append(f.ctx, &errReader{[]byte("part"), errGone})
		if n != 4 || !errors.Is(err, errGone) {
			f.Errorf("got %d, %v, want 4 and the reader's error", n, err)
		}
		f.append(u, " rest")
		f.commit(u, "k")
		f.has("k", "part rest")
	}},
	{"an aborted upload is gone", func(f *bucketFixture) {
		u := f.upload("x")
		if err := u.Abort(f.ctx); err != nil {
			f.Errorf("abort: %v", err)
		}
		f.want("abort again", u.Abort(f.ctx), bucket.ErrNotExist)
		_, err := u.Append(f.ctx, strings.NewReader("y"))
		f.want("append", err, bucket.ErrNotExist)
		_, err = u.Commit(f.ctx, "k", "")
		f.want("commit", err, bucket.ErrNotExist)
		if err := u.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
		_, err = f.b.Upload(f.ctx, u.ID())
		f.want("upload", err, bucket.ErrNotExist)
		f.uploads()
		f.lacks("k")
	}},
	{"an id from outside finds nothing", func(f *bucketFixture) {
		f.put("k", "x", always)
		for _, id := range []string{"", ".", "..", "../objects/k", "/etc/passwd", "a/b", "A", "nothing", strings.Repeat("a", 300)} {
			_, err := f.b.Upload(f.ctx, id)
			f.want("upload "+id, err, bucket.ErrNotExist)
		}
	}},
}

// uploads checks which uploads are listed, in any order.
func (f *bucketFixture) uploads(ids ...string) {
	f.Helper()
	want := make(map[string]bool)
	for _, id := range ids {
		want[id] = true
	}
	for info, err := range f.b.Uploads(f.ctx) {
		if err != nil {
			f.Fatal(err)
		}
		if !want[info.ID] || info.Time.IsZero() {
			f.Errorf("uploads: got %+v, want one of %q, with a time", info, ids)
		}
		delete(want, info.ID)
	}
	if len(want) > 0 {
		f.Errorf("uploads: %v are missing", want)
	}
}
