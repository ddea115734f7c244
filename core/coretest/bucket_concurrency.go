package coretest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
)

var concurrencyClauses = []bucketClause{
	{"of many who create one key exactly one succeeds", func(f *bucketFixture) {
		for round, data := range []string{"x", ""} {
			key := fmt.Sprintf("new/%d/k", round)
			won := make(chan string, many)
			succeeded, errs := together(func(i int) error {
				mine := ""
				if data != "" {
					mine = strconv.Itoa(i)
				}
				_, err := f.b.Put(f.ctx, key, []byte(mine), ifAbsent)
				if err == nil {
					won <- mine
				}
				return err
			})
			if succeeded != 1 {
				f.Fatalf("%d succeeded, want 1", succeeded)
			}
			f.all(errs, bucket.ErrExist)
			f.has(key, <-won)
		}
	}},
	{"of many who replace one version exactly one succeeds", func(f *bucketFixture) {
		version := f.put("k", "old", always).Version
		succeeded, errs := together(func(int) error {
			_, err := f.b.Put(f.ctx, "k", []byte("new"), ifMatch(version))
			return err
		})
		if succeeded != 1 {
			f.Errorf("%d succeeded, want 1", succeeded)
		}
		f.all(errs, bucket.ErrChanged)
	}},
	{"of many who delete one key exactly one succeeds", func(f *bucketFixture) {
		f.commit(f.upload("x"), "k")
		succeeded, errs := together(func(int) error { return f.b.Delete(f.ctx, "k") })
		if succeeded != 1 {
			f.Errorf("%d succeeded, want 1", succeeded)
		}
		f.all(errs, bucket.ErrNotExist)
		f.lacks("k")
	}},
	{"many commit one key and all find it whole", func(f *bucketFixture) {
		_, errs := together(func(int) error {
			u, err := f.b.NewUpload(f.ctx)
			if err != nil {
				return err
			}
			defer u.Close()
			if _, err := u.Append(f.ctx, strings.NewReader("content")); err != nil {
				return err
			}
			if _, err := u.Commit(f.ctx, "a/b/c", ""); err != nil {
				return err
			}
			if got, _, err := f.b.Get(f.ctx, "a/b/c"); err != nil || string(got) != "content" {
				return fmt.Errorf("get: %q, %w", got, err)
			}
			return bucket.Sync(f.ctx, f.b, "a/b/c")
		})
		f.all(errs, nil)
		f.uploads()
	}},
	// A directory that the last delete removes is the one the next put needs.
	{"keys come and go beside each other", func(f *bucketFixture) {
		_, errs := together(func(i int) error {
			key := numbered(i)
			for round := range 4 {
				data := strings.Repeat("x", i%2*round)
				if _, err := f.b.Put(f.ctx, key, []byte(data), ifAbsent); err != nil {
					return err
				}
				if err := bucket.Sync(f.ctx, f.b, key); err != nil {
					return err
				}
				if got, _, err := f.b.Get(f.ctx, key); err != nil || string(got) != data {
					return fmt.Errorf("get %s: %q, %w", key, got, err)
				}
				if err := f.b.Delete(f.ctx, key); err != nil {
					return err
				}
				if err := bucket.Sync(f.ctx, f.b, key); err != nil {
					return err
				}
			}
			return nil
		})
		f.all(errs, nil)
		f.lists("", "")
	}},
	{"a reader sees the old or the new, never a part or nothing", func(f *bucketFixture) {
		old, changed := strings.Repeat("o", 5000), strings.Repeat("n", 9000)
		f.put("k", old, always)
		_, errs := together(func(i int) error {
			if i%8 == 0 {
				_, err := f.b.Put(f.ctx, "k", []byte([]string{old, changed}[i/8%2]), always)
				return err
			}
			for range 20 {
				got, info, err := f.b.Get(f.ctx, "k")
				if err != nil {
					return err
				}
				if s := string(got); s != old && s != changed || info.Size != int64(len(got)) {
					return fmt.Errorf("got %d bytes beginning with %.5q, info %+v", len(s), s, info)
				}
			}
			return nil
		})
		f.all(errs, nil)
	}},
}

// all checks that every error is want; with nil that there is none.
func (f *bucketFixture) all(errs []error, want error) {
	f.Helper()
	for _, err := range errs {
		if want == nil || !errors.Is(err, want) {
			f.Errorf("got error %v, want %v", err, want)
		}
	}
}
