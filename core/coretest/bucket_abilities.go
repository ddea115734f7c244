package coretest

import (
	"io"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
)

var deleteIfMatchClauses = []bucketClause{
	{"only the version that was read is deleted", func(f *bucketFixture) {
		f.want("delete of nothing", f.deleteIfMatch("k", "nothing"), bucket.ErrChanged)
		first := f.put("k", "one", always)
		second := f.put("k", "two", ifMatch(first.Version))
		f.want("delete of an old version", f.deleteIfMatch("k", first.Version), bucket.ErrChanged)
		f.has("k", "two")
		if err := f.deleteIfMatch("k", second.Version); err != nil {
			f.Errorf("delete of the present version: %v", err)
		}
		f.lacks("k")
		committed := f.commit(f.upload("three"), "k")
		if err := f.deleteIfMatch("k", committed.Version); err != nil {
			f.Errorf("delete of a committed object: %v", err)
		}
		f.lacks("k")
		f.want("delete of an invalid key", f.deleteIfMatch("a//b", "x"), bucket.ErrKeyInvalid)
	}},
	{"of many who replace or delete one version exactly one succeeds", func(f *bucketFixture) {
		version := f.put("k", "old", always).Version
		succeeded, errs := together(func(i int) error {
			if i%2 == 0 {
				return f.deleteIfMatch("k", version)
			}
			_, err := f.b.Put(f.ctx, "k", []byte("new"), ifMatch(version))
			return err
		})
		if succeeded != 1 {
			f.Errorf("%d succeeded, want 1", succeeded)
		}
		f.all(errs, bucket.ErrChanged)
	}},
}

var openAfterDeleteClauses = []bucketClause{
	{"a deleted object stays readable for who has it open", func(f *bucketFixture) {
		f.put("k", "content", always)
		o, err := f.b.Open(f.ctx, "k")
		if err != nil {
			f.Fatal(err)
		}
		defer o.Close()
		f.delete("k")
		f.lacks("k")
		f.put("k", "another", ifAbsent)
		if got, err := io.ReadAll(o); err != nil || string(got) != "content" {
			f.Errorf("got %q, %v, want the old content", got, err)
		}
	}},
	{"a committed object stays open when it is deleted", func(f *bucketFixture) {
		f.commit(f.upload("content"), "k")
		o, err := f.b.Open(f.ctx, "k")
		if err != nil {
			f.Fatal(err)
		}
		defer o.Close()
		f.delete("k")
		f.sync("k")
		if got, err := io.ReadAll(o); err != nil || string(got) != "content" {
			f.Errorf("got %q, %v", got, err)
		}
	}},
	{"a replaced object stays readable for who has it open", func(f *bucketFixture) {
		for name, replace := range map[string]func(key string){
			"put":    func(key string) { f.put(key, "new!", always) },
			"commit": func(key string) { f.commit(f.upload("newer"), key) },
		} {
			f.put(name, "old!", always)
			o, err := f.b.Open(f.ctx, name)
			if err != nil {
				f.Fatal(err)
			}
			replace(name)
			if got, err := io.ReadAll(o); err != nil || string(got) != "old!" {
				f.Errorf("%s: got %q, %v, want the old content", name, got, err)
			}
			o.Close()
		}
	}},
}

var followUploadClauses = []bucketClause{
	{"a reader follows an upload to its end and beyond", func(f *bucketFixture) {
		for _, end := range []struct {
			name string
			how  func(bucket.Upload) error
		}{
			{"commit", func(u bucket.Upload) error { _, err := u.Commit(f.ctx, "k", ""); return err }},
			{"abort", func(u bucket.Upload) error { return u.Abort(f.ctx) }},
		} {
			u := f.upload("one")
			r, err := f.follow(u.ID())
			if err != nil {
				f.Fatal(err)
			}
			f.reads(r, "one")
			f.append(u, " two")
			f.reads(r, "one two")
			if err := end.how(u); err != nil {
				f.Errorf("%s: %v", end.name, err)
			}
			f.reads(r, "one two")
			if err := r.Close(); err != nil {
				f.Errorf("close after %s: %v", end.name, err)
			}
		}
		f.has("k", "one two")
	}},
	{"an upload is read when the bucket is opened again", func(f *bucketFixture) {
		u := f.upload("one ")
		u.Close()
		f.reopen()
		again, err := f.b.Upload(f.ctx, u.ID())
		if err != nil {
			f.Fatal(err)
		}
		defer again.Close()
		r, err := f.follow(u.ID())
		if err != nil {
			f.Fatal(err)
		}
		defer r.Close()
		f.reads(r, "one ")
		f.append(again, "two")
		f.reads(r, "one two")
	}},
	{"an upload that has ended is not found", func(f *bucketFixture) {
		committed, aborted := f.upload("x"), f.upload("y")
		f.commit(committed, "k")
		if err := aborted.Abort(f.ctx); err != nil {
			f.Error(err)
		}
		for _, id := range []string{committed.ID(), aborted.ID(), "nothing", "../objects/k", ""} {
			_, err := f.follow(id)
			f.want("follow "+id, err, bucket.ErrNotExist)
		}
	}},
}

var renameClauses = []bucketClause{
	{"an object has its new key alone, its bytes, and the time of the rename", func(f *bucketFixture) {
		for name, made := range map[string]bucket.Info{
			"a/put":       f.put("a/put", "content", always),
			"a/committed": f.commit(f.upload("content"), "a/committed"),
		} {
			if err := f.rename(name, made.Version, "b/"+name); err != nil {
				f.Fatal(err)
			}
			f.lacks(name)
			f.has("b/"+name, "content")
			if now, err := f.b.Stat(f.ctx, "b/"+name); err != nil || !now.Time.After(made.Time) || now.Version == made.Version {
				f.Errorf("%s: got %+v, %v, after %+v", name, now, err, made)
			}
			f.sync(name, "b/"+name)
			f.lacks(name)
			f.reopen()
			f.lacks(name)
			f.has("b/"+name, "content")
		}
	}},
	{"only the version that was read is renamed", func(f *bucketFixture) {
		f.want("rename of nothing", f.rename("k", "nothing", "t"), bucket.ErrChanged)
		first := f.put("k", "one", always)
		f.put("k", "two", ifMatch(first.Version))
		f.want("rename of an old version", f.rename("k", first.Version, "t"), bucket.ErrChanged)
		f.has("k", "two")
		f.lacks("t")
		for _, key := range []string{"a//b", ""} {
			f.want("rename of an invalid key", f.rename(key, "x", "t"), bucket.ErrKeyInvalid)
			f.want("rename to an invalid key", f.rename("k", "x", key), bucket.ErrKeyInvalid)
		}
	}},
	{"what was there is replaced", func(f *bucketFixture) {
		for name, there := range map[string]func(key string){
			"put":       func(key string) { f.put(key, "old", always) },
			"committed": func(key string) { f.commit(f.upload("older"), key) },
		} {
			there("t/" + name)
			version := f.put(name, "new", always).Version
			if err := f.rename(name, version, "t/"+name); err != nil {
				f.Fatal(err)
			}
			f.lacks(name)
			f.has("t/"+name, "new")
			f.sync("t/" + name)
			f.has("t/"+name, "new")
		}
	}},
	{"objects that are alike keep what they are", func(f *bucketFixture) {
		alike := bucket.Condition{IfAbsent: true, Alike: true}
		one, other := f.put("one", "same", alike), f.put("other", "same", alike)
		if err := f.rename("one", one.Version, "t"); err != nil {
			f.Fatal(err)
		}
		f.has("t", "same")
		if now, err := f.b.Stat(f.ctx, "other"); err != nil || now.Version != other.Version {
			f.Errorf("the other one: got %+v, %v, want %+v", now, err, other)
		}
	}},
	{"of many who rename, replace or delete one version exactly one succeeds", func(f *bucketFixture) {
		version := f.put("k", "old", always).Version
		succeeded, errs := together(func(i int) error {
			if i%2 == 0 {
				return f.rename("k", version, "t")
			}
			_, err := f.b.Put(f.ctx, "k", []byte("new"), ifMatch(version))
			return err
		})
		if succeeded != 1 {
			f.Errorf("%d succeeded, want 1", succeeded)
		}
		f.all(errs, bucket.ErrChanged)
	}},
	{"a renamed object stays readable for who has it open", func(f *bucketFixture) {
		version := f.put("k", "content", always).Version
		o, err := f.b.Open(f.ctx, "k")
		if err != nil {
			f.Fatal(err)
		}
		defer o.Close()
		if err := f.rename("k", version, "t"); err != nil {
			f.Fatal(err)
		}
		f.put("k", "another", ifAbsent)
		if got, err := io.ReadAll(o); err != nil || string(got) != "content" {
			f.Errorf("got %q, %v, want the old content", got, err)
		}
	}},
}

// The suites that cut the power test what a barrier makes durable.
var barrierClauses = []bucketClause{
	{"sync takes what is there and what is not", func(f *bucketFixture) {
		f.sync()
		f.sync("never/was", "nor/was/this")
		f.put("a/b/c", "x", ifAbsent)
		f.put("a/b/d", "", ifAbsent)
		f.sync("a/b/c", "a/b/d", "a/b/c", "a/b/e")
		f.delete("a/b/c")
		f.delete("a/b/d")
		f.sync("a/b/c", "a/b/d")
		f.lacks("a/b/c")
	}},
	{"an invalid key is refused", func(f *bucketFixture) {
		for _, key := range []string{"", "/", "a//b", "../a", "a b", strings.Repeat("a", 256)} {
			f.want("sync "+key, f.b.(bucket.Barrier).Sync(f.ctx, key), bucket.ErrKeyInvalid)
		}
	}},
}

func (f *bucketFixture) deleteIfMatch(key, version string) error {
	return f.b.(bucket.DeleteIfMatch).DeleteIfMatch(f.ctx, key, version)
}

func (f *bucketFixture) rename(key, version, to string) error {
	return f.b.(bucket.Rename).Rename(f.ctx, key, version, to)
}

func (f *bucketFixture) follow(id string) (bucket.UploadReader, error) {
	return f.b.(bucket.FollowUpload).FollowUpload(f.ctx, id)
}

// reads checks what an upload's reader has, from the first byte to the last.
func (f *bucketFixture) reads(r bucket.UploadReader, want string) {
	f.Helper()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(len(want))+1))
	if err != nil || string(got) != want {
		f.Errorf("reader: got %q, %v, want %q", got, err, want)
	}
}
