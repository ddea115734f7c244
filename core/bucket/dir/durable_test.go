package dir_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// disk is a Config.Sync that counts, fails and delays by the path below the
// bucket.
type disk struct {
	mu     sync.Mutex // guards the rest
	synced map[string]int
	inodes map[uint64]int          // syncs of file data
	hook   func(path string) error // replaces the sync if it returns an error
}

func (d *disk) sync(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	_, path, _ := strings.Cut(f.Name(), "/private/")
	d.mu.Lock()
	if d.synced == nil {
		d.synced, d.inodes = make(map[string]int), make(map[uint64]int)
	}
	d.synced[path]++
	if !fi.IsDir() {
		d.inodes[fi.Sys().(*syscall.Stat_t).Ino]++
	}
	hook := d.hook
	d.mu.Unlock()
	if hook != nil {
		if err := hook(path); err != nil {
			return err
		}
	}
	return f.Sync()
}

func (d *disk) set(hook func(path string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

// failOnce is a hook that fails the first sync of a path, or of one in it if it ends
// in a slash.
func failOnce(failing string, err error) func(string) error {
	var once sync.Once
	return func(path string) (result error) {
		if path == failing || strings.HasSuffix(failing, "/") && strings.HasPrefix(path, failing) {
			once.Do(func() { result = err })
		}
		return result
	}
}

var errDisk = errors.New("input/output error")

func put(t *testing.T, b bucket.Bucket, key, data string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, []byte(data), bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, b bucket.Bucket, key, data string) {
	t.Helper()
	u, err := b.NewUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Append(t.Context(), strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(t.Context(), key, ""); err != nil {
		t.Fatal(err)
	}
}

// wantObject checks what an object holds; "-" means that there is none.
func wantObject(t *testing.T, b bucket.Bucket, key, want string) {
	t.Helper()
	data, _, err := b.Get(t.Context(), key)
	got := string(data)
	if errors.Is(err, bucket.ErrNotExist) {
		got, err = "-", nil
	}
	if err != nil || got != want {
		t.Errorf("get %s: got %q, %v, want %q", key, got, err, want)
	}
}

func TestNothingGetsItsNameBeforeItsBytesAreSynced(t *testing.T) {
	d := &disk{}
	storage, b := open(t, dir.Config{Sync: d.sync})
	for n := range uint64(5) {
		if err := image(t.Context(), b, n); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, b, "blobs/one/committed", "x")
	put(t, b, "blobs/one/put", "y")
	put(t, b, "blobs/one/put", "z")
	err := filepath.WalkDir(filepath.Join(storage.Path(), "private/objects"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if fi.Size() > 0 && d.inodes[fi.Sys().(*syscall.Stat_t).Ino] == 0 {
			t.Errorf("%s has its name but was never synced", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAPendingObjectIsVisibleWithoutItsName(t *testing.T) {
	release := make(chan struct{})
	d := &disk{}
	storage, b := open(t, dir.Config{Sync: d.sync})
	d.set(func(path string) error {
		if strings.HasPrefix(path, "uploads/") {
			<-release
		}
		return nil
	})
	commit(t, b, "a/b", "data")
	wantObject(t, b, "a/b", "data")
	if _, err := os.Stat(filepath.Join(storage.Path(), "private/objects/a/b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the object has its name before its bytes are durable (%v)", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Sync(ctx, "a/b"); !errors.Is(err, context.Canceled) {
		t.Errorf("sync of a caller that left: got %v", err)
	}
	close(release)
	if err := b.Sync(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(storage.Path(), "private/objects/a/b")); err != nil || string(got) != "data" {
		t.Errorf("got %q, %v after the sync", got, err)
	}
}

// The counts are the cost of a push on a disk whose syncs are real.
func TestBarriersOfAPush(t *testing.T) {
	storage, b := open(t, dir.Config{})
	if err := image(t.Context(), b, 0); err != nil {
		t.Fatal(err)
	}
	before := storage.Stats()
	if err := image(t.Context(), b, 1); err != nil {
		t.Fatal(err)
	}
	data, dirs := storage.Stats().DataSyncs-before.DataSyncs, storage.Stats().DirSyncs-before.DirSyncs
	if data != 6 {
		t.Errorf("got %d syncs of data, want one for each of 4 blobs, the manifest and a tag", data)
	}
	// One for each of 4 blobs with its link, and one for its new parent; two and their parents
	// for the manifest; one for the tag.
	if dirs > 13 {
		t.Errorf("got %d syncs of directories, want at most 13", dirs)
	}
	before = storage.Stats()
	if err := b.Sync(t.Context(), "repos/team/app/_tags/v1"); err != nil {
		t.Error(err)
	}
	if after := storage.Stats(); after != before {
		t.Errorf("a sync of what is durable cost %+v, was %+v", after, before)
	}
}

func TestOneDirectorySyncServesAllWaitingCallers(t *testing.T) {
	d := &disk{}
	_, b := open(t, dir.Config{Sync: d.sync})
	put(t, b, "d/first", "x")
	if err := b.Sync(t.Context(), "d/first"); err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.set(func(path string) error {
		if path == "objects/d" {
			once.Do(func() { close(started); <-release })
		}
		return nil
	})
	put(t, b, "d/slow", "x")
	errs := make(chan error)
	go func() { errs <- b.Sync(t.Context(), "d/slow") }()
	<-started
	d.mu.Lock()
	before := d.synced["objects/d"]
	d.mu.Unlock()
	const late = 50
	var keys []string
	for i := range late {
		keys = append(keys, "d/late"+string(rune('a'+i%26))+string(rune('a'+i/26)))
		put(t, b, keys[i], "x")
	}
	for _, key := range keys {
		go func() { errs <- b.Sync(t.Context(), key) }()
	}
	close(release)
	for range late + 1 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	// One for all callers that came in time, and another for those that came while it ran.
	if more := d.synced["objects/d"] - before; more < 1 || more > 10 {
		t.Errorf("%d late writers took %d syncs of their directory", late, more)
	}
}

func TestAFailedSync(t *testing.T) {
	tests := map[string]struct {
		path  string // the first sync of which fails
		write func(t *testing.T, b bucket.Bucket) error
		want  map[string]string
	}{
		"of a put's bytes leaves the old object": {"tmp/", func(t *testing.T, b bucket.Bucket) error {
			_, err := b.Put(t.Context(), "old/a", []byte("new"), bucket.Condition{})
			return err
		}, map[string]string{"old/a": "old"}},
		"of a created object's bytes leaves no object": {"tmp/", func(t *testing.T, b bucket.Bucket) error {
			_, err := b.Put(t.Context(), "new/a", []byte("new"), absent)
			return err
		}, map[string]string{"new/a": "-", "old/a": "old"}},
		"of an upload's bytes drops the object": {"uploads/", func(t *testing.T, b bucket.Bucket) error {
			commit(t, b, "new/a", "new")
			return bucket.Sync(t.Context(), b, "new/a")
		}, map[string]string{"new/a": "-"}},
		"of a directory drops what was created in it": {"objects/old", func(t *testing.T, b bucket.Bucket) error {
			put(t, b, "old/new", "new")
			return bucket.Sync(t.Context(), b, "old/new")
		}, map[string]string{"old/new": "-", "old/a": "old"}},
		"of a directory drops an upload that was committed in it": {"objects/old", func(t *testing.T, b bucket.Bucket) error {
			commit(t, b, "old/new", "new")
			return bucket.Sync(t.Context(), b, "old/new")
		}, map[string]string{"old/new": "-", "old/a": "old"}},
		"of a parent directory drops new directories with their content": {"objects", func(t *testing.T, b bucket.Bucket) error {
			put(t, b, "new/x/y/z", "new")
			put(t, b, "new/x/empty", "")
			return errors.Join(bucket.Sync(t.Context(), b, "new/x/y/z"), bucket.Sync(t.Context(), b, "new/x/empty"))
		}, map[string]string{"new/x/y/z": "-", "new/x/empty": "-", "old/a": "old"}},
		"of a directory keeps the new version of an old object": {"objects/old", func(t *testing.T, b bucket.Bucket) error {
			put(t, b, "old/a", "new")
			return bucket.Sync(t.Context(), b, "old/a")
		}, map[string]string{"old/a": "new"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := &disk{}
			_, b := open(t, dir.Config{Sync: d.sync})
			put(t, b, "old/a", "old")
			if err := b.Sync(t.Context(), "old/a"); err != nil {
				t.Fatal(err)
			}
			d.set(failOnce(tt.path, errDisk))
			if err := tt.write(t, b); !errors.Is(err, bucket.ErrSync) || !errors.Is(err, errDisk) {
				t.Fatalf("got error %v, want ErrSync and its cause", err)
			}
			for key, want := range tt.want {
				wantObject(t, b, key, want)
			}
			for ino, times := range d.inodes {
				if times > 1 {
					t.Errorf("file %d was synced %d times", ino, times)
				}
			}
			// Once the disk works again, so does the bucket.
			if err := tt.write(t, b); err != nil {
				t.Errorf("again: %v", err)
			}
			for key, want := range tt.want {
				if want == "-" {
					if _, err := b.Stat(t.Context(), key); err != nil {
						t.Errorf("again: %v", err)
					}
					if err := b.Sync(t.Context(), key); err != nil {
						t.Errorf("again: %v", err)
					}
				}
			}
		})
	}
}

// A caller that was told "created" or "exists", and calls the barrier later, must not get
// success for an object that was dropped.
func TestALostObjectIsRememberedUntilItIsWrittenAgain(t *testing.T) {
	d := &disk{}
	_, b := open(t, dir.Config{Sync: d.sync})
	put(t, b, "d/mine", "x")
	put(t, b, "d/other", "y")
	d.set(failOnce("objects/d", errDisk))
	for _, key := range []string{"d/mine", "d/other", "d/other"} {
		if err := b.Sync(t.Context(), key); !errors.Is(err, bucket.ErrSync) {
			t.Errorf("sync %s: got %v, want ErrSync", key, err)
		}
		wantObject(t, b, key, "-")
	}
	commit(t, b, "d/mine", "x")
	put(t, b, "d/other", "y")
	if err := b.Sync(t.Context(), "d/mine", "d/other"); err != nil {
		t.Error(err)
	}
}

func TestAFullDisk(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		d := &disk{}
		_, b := open(t, dir.Config{Sync: d.sync})
		d.set(func(string) error { return &os.PathError{Op: "sync", Path: "x", Err: full} })
		if _, err := b.Put(t.Context(), "d/put", []byte("x"), absent); !errors.Is(err, bucket.ErrNoSpace) {
			t.Errorf("put: got %v, want ErrNoSpace", err)
		}
		commit(t, b, "d/commit", "x")
		if err := b.Sync(t.Context(), "d/commit"); !errors.Is(err, bucket.ErrNoSpace) {
			t.Errorf("sync: got %v, want ErrNoSpace", err)
		}
		wantObject(t, b, "d/put", "-")
		wantObject(t, b, "d/commit", "-")
		d.set(nil)
		put(t, b, "d/put", "x")
		commit(t, b, "d/commit", "x")
		if err := b.Sync(t.Context(), "d/put", "d/commit"); err != nil {
			t.Error(err)
		}
	}
}

func TestAnOpenObjectIsAFile(t *testing.T) {
	_, b := open(t, dir.Config{})
	put(t, b, "k", "data")
	o, err := b.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	f, ok := o.(interface{ File() *os.File })
	if !ok {
		t.Fatal("no File")
	}
	if got, err := io.ReadAll(f.File()); err != nil || !bytes.Equal(got, []byte("data")) {
		t.Errorf("got %q, %v", got, err)
	}
}
