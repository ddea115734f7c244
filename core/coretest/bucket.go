package coretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
)

// OpenBucket makes an empty bucket at its first call with one t; a later one, which
// comes after Close, opens the same bucket again. What is still open is closed with t.
type OpenBucket func(t *testing.T) bucket.Bucket

// Bucket runs the contract of a bucket.Bucket over what open returns. Its abilities have
// suites of their own.
//
// What a power cut or a failing disk does is not asked here: it takes a disk that
// can be told to fail.
func Bucket(t *testing.T, open OpenBucket) {
	groups := []struct {
		name    string
		clauses []bucketClause
	}{
		{"objects", objectClauses},
		{"keys", keyClauses},
		{"list", listClauses},
		{"uploads", uploadClauses},
		{"concurrency", concurrencyClauses},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) { runBucket(t, open, group.clauses) })
	}
}

// DeleteIfMatch runs the contract of a bucket.Bucket that is a bucket.DeleteIfMatch.
func DeleteIfMatch(t *testing.T, open OpenBucket) { runBucket(t, open, deleteIfMatchClauses) }

// OpenAfterDelete runs the contract of a bucket.Bucket that is a bucket.OpenAfterDelete.
func OpenAfterDelete(t *testing.T, open OpenBucket) { runBucket(t, open, openAfterDeleteClauses) }

// FollowUpload runs the contract of a bucket.Bucket that is a bucket.FollowUpload.
func FollowUpload(t *testing.T, open OpenBucket) { runBucket(t, open, followUploadClauses) }

// Barrier runs the contract of a bucket.Bucket that is a bucket.Barrier.
func Barrier(t *testing.T, open OpenBucket) { runBucket(t, open, barrierClauses) }

// Rename runs the contract of a bucket.Bucket that is a bucket.Rename.
func Rename(t *testing.T, open OpenBucket) { runBucket(t, open, renameClauses) }

// Adopt runs the contract of a bucket.Bucket that is a bucket.Adopt, and that can share a file in
// a directory of the test.
func Adopt(t *testing.T, open OpenBucket) { runBucket(t, open, adoptClauses) }

func runBucket(t *testing.T, open OpenBucket, clauses []bucketClause) {
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			c.test(&bucketFixture{T: t, ctx: t.Context(), b: open(t), open: open})
		})
	}
}

// bucketClause is one sentence of the contract, as a test on a bucket of its own.
type bucketClause struct {
	name string
	test func(f *bucketFixture)
}

type bucketFixture struct {
	*testing.T
	ctx  context.Context
	b    bucket.Bucket
	open OpenBucket
}

var (
	always   = bucket.Condition{}
	ifAbsent = bucket.Condition{IfAbsent: true}
)

func ifMatch(version string) bucket.Condition { return bucket.Condition{IfMatch: version} }

// reopen stops the bucket and starts it again.
func (f *bucketFixture) reopen() {
	f.Helper()
	if err := f.b.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	f.b = f.open(f.T)
}

// put writes an object that has to be written.
func (f *bucketFixture) put(key, data string, cond bucket.Condition) bucket.Info {
	f.Helper()
	info, err := f.b.Put(f.ctx, key, []byte(data), cond)
	if err != nil {
		f.Fatalf("put %s: %v", key, err)
	}
	if info.Key != key || info.Size != int64(len(data)) || info.Version == "" {
		f.Errorf("put %s: got info %+v, want the key, size %d and a version", key, info, len(data))
	}
	return info
}

// upload begins an upload that holds data.
func (f *bucketFixture) upload(data string) bucket.Upload {
	f.Helper()
	u, err := f.b.NewUpload(f.ctx)
	if err != nil {
		f.Fatalf("new upload: %v", err)
	}
	f.append(u, data)
	return u
}

func (f *bucketFixture) append(u bucket.Upload, data string) {
	f.Helper()
	if n, err := u.Append(f.ctx, bytes.NewReader([]byte(data))); err != nil || n != int64(len(data)) {
		f.Fatalf("append: got %d, %v, want %d", n, err, len(data))
	}
}

func (f *bucketFixture) commit(u bucket.Upload, key string) bucket.Info {
	f.Helper()
	info, err := u.Commit(f.ctx, key, "")
	if err != nil {
		f.Fatalf("commit %s: %v", key, err)
	}
	if err := u.Close(); err != nil {
		f.Errorf("close after commit: %v", err)
	}
	return info
}

func (f *bucketFixture) sync(keys ...string) {
	f.Helper()
	if err := bucket.Sync(f.ctx, f.b, keys...); err != nil {
		f.Fatalf("sync: %v", err)
	}
}

func (f *bucketFixture) delete(key string) {
	f.Helper()
	if err := f.b.Delete(f.ctx, key); err != nil {
		f.Fatalf("delete %s: %v", key, err)
	}
}

// has checks that every way to read the object agrees that it holds data.
func (f *bucketFixture) has(key, data string) bucket.Info {
	f.Helper()
	got, info, err := f.b.Get(f.ctx, key)
	if err != nil || string(got) != data {
		f.Fatalf("get %s: got %q, %v, want %q", key, got, err, data)
	}
	stat, err := f.b.Stat(f.ctx, key)
	if err != nil || stat != info {
		f.Errorf("stat %s: got %+v, %v, want what get says, %+v", key, stat, err, info)
	}
	o, err := f.b.Open(f.ctx, key)
	if err != nil {
		f.Fatalf("open %s: %v", key, err)
	}
	defer o.Close()
	if o.Info() != info {
		f.Errorf("open %s: got %+v, want what get says, %+v", key, o.Info(), info)
	}
	if all, err := io.ReadAll(o); err != nil || string(all) != data {
		f.Errorf("read %s: got %q, %v, want %q", key, all, err, data)
	}
	return info
}

// lacks checks that every way to read the object agrees that it is not there.
func (f *bucketFixture) lacks(key string) {
	f.Helper()
	_, _, err := f.b.Get(f.ctx, key)
	f.want("get "+key, err, bucket.ErrNotExist)
	_, err = f.b.Stat(f.ctx, key)
	f.want("stat "+key, err, bucket.ErrNotExist)
	_, err = f.b.Open(f.ctx, key)
	f.want("open "+key, err, bucket.ErrNotExist)
	f.want("delete "+key, f.b.Delete(f.ctx, key), bucket.ErrNotExist)
}

// lists checks which keys a List yields, in which order.
func (f *bucketFixture) lists(prefix, after string, want ...string) {
	f.Helper()
	var got []string
	for info, err := range f.b.List(f.ctx, prefix, after) {
		if err != nil {
			f.Fatalf("list %q after %q: %v", prefix, after, err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, want) {
		f.Errorf("list %q after %q:\n got %q\nwant %q", prefix, after, got, want)
	}
}

func (f *bucketFixture) want(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// many is the number of goroutines in the tests of concurrency: enough that two
// meet in every place, also on two cores.
const many = 64

// together runs do on many goroutines at once and returns how many had no error,
// and the errors of the others.
func together(do func(i int) error) (succeeded int, errs []error) {
	start, results := make(chan struct{}), make(chan error)
	for i := range many {
		go func() {
			<-start
			results <- do(i)
		}()
	}
	close(start)
	for range many {
		if err := <-results; err != nil {
			errs = append(errs, err)
		}
	}
	return many - len(errs), errs
}

// numbered makes keys that spread over directories.
func numbered(i int) string { return fmt.Sprintf("many/d%d/o%d", i%5, i) }
