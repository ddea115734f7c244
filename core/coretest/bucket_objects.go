package coretest

import (
	"io"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
)

var objectClauses = []bucketClause{
	{"what was put is read back", func(f *bucketFixture) {
		f.lacks("a/b")
		put := f.put("a/b", "one", always)
		if got := f.has("a/b", "one"); got != put {
			f.Errorf("got info %+v, want that of the put, %+v", got, put)
		}
		f.put("a/b", "two", always)
		f.has("a/b", "two")
	}},
	{"an object may be empty", func(f *bucketFixture) {
		f.put("empty/absent", "", ifAbsent)
		f.has("empty/absent", "")
		f.put("empty/always", "", always)
		f.has("empty/always", "")
		f.put("empty/always", "full", always)
		f.put("empty/always", "", always)
		f.has("empty/always", "")
	}},
	{"objects that are alike are as good as others", func(f *bucketFixture) {
		alike := bucket.Condition{IfAbsent: true, Alike: true}
		for _, key := range []string{"alike/one", "alike/two", "alike/three", "other/four"} {
			f.put(key, "the same", alike)
			_, err := f.b.Put(f.ctx, key, []byte("the same"), alike)
			f.want("put again", err, bucket.ErrExist)
		}
		f.put("alike/other", "another", alike)
		f.put("alike/two", "changed", always)
		f.delete("alike/three")
		f.put("alike/three", "the same", alike)
		f.put("alike/long", strings.Repeat("long", 4<<10), alike)
		f.has("alike/one", "the same")
		f.has("alike/two", "changed")
		f.has("alike/three", "the same")
		f.has("other/four", "the same")
		f.has("alike/other", "another")
		f.has("alike/long", strings.Repeat("long", 4<<10))
		for i := range 200 { // more contents than anybody remembers
			key := "many/k" + strconv.Itoa(i)
			f.put(key, key, alike)
			f.has(key, key)
		}
		f.sync("alike/one", "alike/two", "alike/three", "many/k199")
		f.lists("alike/", "", "alike/long", "alike/one", "alike/other", "alike/three", "alike/two")
	}},
	{"a path to an object is not an object", func(f *bucketFixture) {
		f.put("a/b/c", "x", always)
		for _, key := range []string{"a", "a/b", "a/b/c/d"} {
			f.lacks(key)
		}
		f.has("a/b/c", "x")
	}},
	{"if absent creates and never replaces", func(f *bucketFixture) {
		for _, data := range []string{"one", ""} {
			key := "created/k" + data
			f.put(key, data, ifAbsent)
			for _, again := range []string{"two", ""} {
				_, err := f.b.Put(f.ctx, key, []byte(again), ifAbsent)
				f.want("put again", err, bucket.ErrExist)
			}
			f.has(key, data)
			f.delete(key)
			f.put(key, "three", ifAbsent)
			f.has(key, "three")
		}
	}},
	{"if match replaces only what was read", func(f *bucketFixture) {
		_, err := f.b.Put(f.ctx, "k", []byte("x"), ifMatch("nothing"))
		f.want("put on nothing", err, bucket.ErrChanged)
		f.lacks("k")
		first := f.put("k", "one", always)
		f.put("k", "two", ifMatch(first.Version))
		_, err = f.b.Put(f.ctx, "k", []byte("three"), ifMatch(first.Version))
		f.want("put on an old version", err, bucket.ErrChanged)
		f.has("k", "two")
	}},
	// Faster than a clock ticks, and with inodes that are used again at once.
	{"no two writes have one version", func(f *bucketFixture) {
		type write struct {
			number int
			empty  bool // all empty objects may have one version
		}
		seen := make(map[string]write)
		version := func(i int, info bucket.Info) {
			now := write{i, info.Size == 0}
			if before, ok := seen[info.Version]; ok && !(now.empty && before.empty) {
				f.Fatalf("write %d has the version of write %d: %s", i, before.number, info.Version)
			}
			seen[info.Version] = now
		}
		for i := range 60 {
			data := []string{"same", ""}[i%2]
			if i%3 == 0 && i > 0 {
				f.delete("k")
			}
			if i%3 == 0 {
				version(i, f.put("k", data, ifAbsent))
			} else {
				version(i, f.put("k", data, always))
			}
		}
	}},
	{"an open object is read from anywhere", func(f *bucketFixture) {
		f.put("k", "0123456789", always)
		o, err := f.b.Open(f.ctx, "k")
		if err != nil {
			f.Fatal(err)
		}
		defer o.Close()
		part := make([]byte, 3)
		if _, err := o.ReadAt(part, 4); err != nil || string(part) != "456" {
			f.Errorf("read at 4: got %q, %v", part, err)
		}
		if _, err := o.Seek(8, io.SeekStart); err != nil {
			f.Error(err)
		}
		if rest, err := io.ReadAll(o); err != nil || string(rest) != "89" {
			f.Errorf("read after seek: got %q, %v", rest, err)
		}
	}},
	{"what was synced is there when it is opened again", func(f *bucketFixture) {
		kept := f.put("a/kept", strings.Repeat("x", 70_000), ifAbsent)
		f.put("a/Gone", "y", ifAbsent)
		f.put("a/empty", "", ifAbsent)
		f.delete("a/Gone")
		f.sync("a/kept", "a/Gone", "a/empty")
		f.reopen()
		if got := f.has("a/kept", strings.Repeat("x", 70_000)); got != kept {
			f.Errorf("got info %+v, want %+v", got, kept)
		}
		f.has("a/empty", "")
		f.lacks("a/Gone")
		f.put("a/kept", "z", ifMatch(kept.Version))
		f.lists("", "", "a/empty", "a/kept")
	}},
}

// longest is a tag's longest name, in capitals.
var longest = strings.Repeat("A", 128)

var keyClauses = []bucketClause{
	{"keys that differ in case are different objects", func(f *bucketFixture) {
		keys := []string{"t/Latest", "t/latest", "t/LATEST", "t/lateST", "T/latest", "t/" + longest, "t/" + strings.ToLower(longest)}
		for _, key := range keys {
			f.put(key, key, ifAbsent)
		}
		for _, key := range keys {
			f.has(key, key)
		}
		f.delete("t/LATEST")
		f.lacks("t/LATEST")
		f.has("t/latest", "t/latest")
	}},
	{"every legal byte and length is taken", func(f *bucketFixture) {
		for _, key := range []string{
			"._:+=@-", "..a", "...", "a./b", ".hidden/x", "-", "_tags", "sha256:ab/x=y", strings.Repeat("a", 255), "x/" + strings.Repeat("9", 255) + "/y",
		} {
			f.put(key, key, ifAbsent)
			f.has(key, key)
			f.delete(key)
			f.commit(f.upload(key), key)
			f.sync(key)
			f.has(key, key)
		}
	}},
	{"an invalid key is refused by every method", func(f *bucketFixture) {
		for _, key := range []string{
			"", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "a\x00", "a\\b", "ä", "a^1", "a,b", "a%2f", strings.Repeat("a", 256),
		} {
			_, err := f.b.Put(f.ctx, key, nil, always)
			f.want("put", err, bucket.ErrKeyInvalid)
			_, _, err = f.b.Get(f.ctx, key)
			f.want("get", err, bucket.ErrKeyInvalid)
			_, err = f.b.Stat(f.ctx, key)
			f.want("stat", err, bucket.ErrKeyInvalid)
			_, err = f.b.Open(f.ctx, key)
			f.want("open", err, bucket.ErrKeyInvalid)
			f.want("delete", f.b.Delete(f.ctx, key), bucket.ErrKeyInvalid)
			u := f.upload("x")
			_, err = u.Commit(f.ctx, key, "")
			f.want("commit", err, bucket.ErrKeyInvalid)
			u.Close()
		}
		f.lists("", "")
	}},
}
