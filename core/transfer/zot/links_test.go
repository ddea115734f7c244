package zot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

// onlyLinux skips a test of links on a system that cannot link an open file.
func onlyLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("files are not linked on this system")
	}
}

// large is content that begins with head and can be shared.
func large(head string) string { return head + strings.Repeat("+", 6000) }

// blob writes content into a repository of the directory, as long ago as zot's is.
func blob(t testing.TB, root, repo, content string) core.Descriptor {
	t.Helper()
	d := digest.FromString(content)
	file := blobFile(root, repo, d)
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	old := time.Date(2020, time.May, 6, 7, 8, 9, 0, time.UTC)
	must(t, os.WriteFile(file, []byte(content), 0o640), os.Chmod(file, 0o640), os.Chtimes(file, old, old))
	return core.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(content))}
}

func blobFile(root, repo string, d digest.Digest) string {
	return filepath.Join(root, repo, "blobs", "sha256", d.Encoded())
}

// extra and more are repositories that the fixture does not have.
const extra, more = "extra/one", "extra/more"

// layered adds an image with these layers, with a large manifest and a large config.
func layered(t testing.TB, root, repo, tag string, layers ...string) string {
	t.Helper()
	config := blob(t, root, repo, large(`{"architecture":"`+tag))
	config.MediaType = ocispec.MediaTypeImageConfig
	image := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []core.Descriptor{}, Annotations: map[string]string{"padding": large(tag)}}
	image.SchemaVersion = 2
	for _, layer := range layers {
		image.Layers = append(image.Layers, blob(t, root, repo, layer))
	}
	doc, err := json.Marshal(image)
	must(t, err)
	if index := filepath.Join(root, repo, "index.json"); !exists(index) {
		must(t, os.WriteFile(index, []byte(`{"manifests":[]}`), 0o600))
	}
	return add(t, root, repo, tag, doc)
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// shared counts the files of zot's directory that have another name in the storage, by their
// digest.
func shared(t testing.TB, root, storage string) map[digest.Digest]int {
	t.Helper()
	type file struct{ device, inode uint64 }
	files := func(root string, use func(name string, f file)) {
		must(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			fi, err := entry.Info()
			if err == nil {
				st := fi.Sys().(*syscall.Stat_t)
				use(name, file{uint64(st.Dev), st.Ino})
			}
			return err
		}))
	}
	here := map[file]bool{}
	files(storage, func(_ string, f file) { here[f] = true })
	found := map[digest.Digest]int{}
	files(root, func(name string, f file) {
		if here[f] {
			found[digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(name))]++
		}
	})
	return found
}

// Layers share their files with zot, and nothing else does: zot writes manifests in place.
func TestLayersShareTheFilesOfZot(t *testing.T) {
	onlyLinux(t)
	root, path := fixture(t), t.TempDir()
	one, two, small := large("one"), large("two"), strings.Repeat("s", 4096)
	index := large(" \n" + `{"schemaVersion":2,"manifests":[],"padding":"`)
	layered(t, root, extra, "a", one, small)
	layered(t, root, extra, "b", one, two)
	layered(t, root, more, "c", two)
	layered(t, root, extra, "manifest", index)
	layered(t, root, extra, "config", large(`{"architecture":"config`))
	before := look(t, root)
	s := openTarget(t, path)
	summary, items := s.imported(t, root, nil)
	s.wantEverything(t)
	for _, image := range []string{extra + " a", extra + " b", more + " c", extra + " manifest", extra + " config"} {
		if items[image].Outcome != transfer.Imported {
			t.Errorf("%s was reported as %+v", image, items[image])
		}
	}
	if !maps.Equal(look(t, root), before) {
		t.Error("the import has changed zot's directory")
	}
	with := shared(t, root, path)
	for d := range with {
		// The fixture's own layer is the one of 9,000 bytes.
		if d != digest.FromString(one) && d != digest.FromString(two) && !strings.HasPrefix(d.Encoded(), "cf0bb0c4") {
			t.Errorf("%s shares its file with zot", d)
		}
	}
	if summary.Linked+summary.Cloned < 2 || summary.Linked > 0 && len(with) < 2 || summary.Saved < 12_000 {
		t.Errorf("got %+v, and %v share their files", summary, with)
	}
	for repo, layers := range map[string][]string{extra: {one, two, small, index}, more: {two}} {
		for _, layer := range layers {
			s.wantBlob(t, repo, core.Descriptor{Digest: digest.FromString(layer)})
		}
	}
	// A copy has nothing in common with zot.
	path = t.TempDir()
	copied, _ := openTarget(t, path).imported(t, root, func(c *transfer.Config) { c.Link = false })
	if with := shared(t, root, path); copied.Linked+copied.Cloned > 0 || copied.Saved > 0 || len(with) > 0 || copied.Imported != summary.Imported {
		t.Errorf("copied: %+v, and %v share their files", copied, with)
	}
}

// An object and the file of zot that it shares stay independent: neither a repair nor a delete on one side
// changes the other.
func TestSharedLayersLiveApart(t *testing.T) {
	onlyLinux(t)
	root, path := fixture(t), t.TempDir()
	names := []string{"deleted", "damaged", "kept"}
	var deleted digest.Digest
	for _, name := range slices.Backward(names) {
		deleted = digest.Digest(layered(t, root, extra, name, large(name)))
	}
	var ahead atomic.Int64 // of the clock
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := openTargetWith(t, path, store.Config{Now: now})
	s.imported(t, root, nil)
	before := look(t, root)
	unchanged := func(after string) {
		t.Helper()
		if !maps.Equal(look(t, root), before) {
			t.Errorf("zot's directory has changed after %s", after)
		}
	}

	// Content is in the quarantine as of now, however old zot's file is.
	d := digest.FromString(large("damaged"))
	object, err := s.Open(t.Context(), d)
	must(t, err)
	moved, err := s.Quarantine(t.Context(), d, object.Info().Version)
	must(t, object.Close(), err)
	dropped, err := s.DropQuarantined(t.Context(), time.Now().Add(-time.Minute))
	if must(t, err); !moved || dropped != 0 {
		t.Errorf("moved %v, and %d dropped at once", moved, dropped)
	}
	unchanged("the quarantine")
	if _, err := s.Blob(t.Context(), extra, d); !errors.Is(err, core.ErrBlobUnknown) {
		t.Errorf("the content in the quarantine is served: %v", err)
	}
	upload := func() {
		t.Helper()
		u, err := s.NewUpload(t.Context(), extra, digest.SHA256)
		must(t, err)
		_, err = u.Append(t.Context(), 0, strings.NewReader(large("damaged")))
		must(t, err)
		_, err = u.Commit(t.Context(), d)
		must(t, err, u.Close())
	}
	upload()
	s.wantBlob(t, extra, core.Descriptor{Digest: d})
	dropped, err = s.DropQuarantined(t.Context(), time.Now().Add(time.Minute))
	if must(t, err); dropped != 1 {
		t.Errorf("%d dropped from the quarantine", dropped)
	}
	unchanged("a push of what was in the quarantine")

	// A flipped bit hits both, and a push repairs the one here only.
	flipped := blobFile(root, extra, digest.FromString(large("kept")))
	must(t, os.WriteFile(flipped, []byte(strings.ToUpper(large("kept"))), 0))
	before = look(t, root)
	u, err := s.NewUpload(t.Context(), extra, digest.SHA256)
	must(t, err)
	_, err = u.Append(t.Context(), 0, strings.NewReader(large("kept")))
	must(t, err)
	_, err = u.Commit(t.Context(), digest.FromString(large("kept")))
	must(t, err, u.Close())
	s.wantBlob(t, extra, core.Descriptor{Digest: digest.FromString(large("kept"))})
	unchanged("a repair by a push")

	must(t, s.DeleteManifest(t.Context(), extra, deleted))
	ahead.Store(int64(24 * time.Hour))
	collected, err := s.Collect(t.Context(), store.CollectOptions{})
	if must(t, err); collected.Blobs == 0 {
		t.Error("the collector has removed nothing")
	}
	if _, err := s.Open(t.Context(), digest.FromString(large("deleted"))); !errors.Is(err, bucket.ErrNotExist) {
		t.Errorf("the collector has not removed the layer: %v", err)
	}
	unchanged("a collection")

	// Zot's directory may go.
	must(t, os.RemoveAll(root))
	s.wantEverything(t)
	for _, name := range names[1:] {
		s.wantBlob(t, extra, core.Descriptor{Digest: digest.FromString(large(name))})
	}
}

// meddling is a target that calls adopted when a layer was read and is not here yet.
type meddling struct {
	*store.Store
	adopted func(d digest.Digest)
}

func (m *meddling) Adopt(ctx context.Context, d digest.Digest, f *os.File) (core.Adoption, error) {
	a, err := m.Store.Adopt(ctx, d, f)
	if err == nil {
		m.adopted(d)
	}
	return a, err
}

// Somebody changes the files of layers between their hash and their link. What is here has its digest.
func TestFilesThatAreChangedWhileTheyAreLinked(t *testing.T) {
	onlyLinux(t)
	root := fixture(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(large("secret")), 0o600))
	// replace puts another file in the place of the layer, as a rename does.
	replace := func(put func(file string) error) func(string) error {
		return func(file string) error { return errors.Join(os.Remove(file), put(file)) }
	}
	changes := map[string]struct {
		change func(file string) error
		stays  bool // the file that was read is still what it was
	}{
		"longer":   {func(file string) error { return os.WriteFile(file, []byte(large("longer...")), 0) }, false},
		"shorter":  {func(file string) error { return os.Truncate(file, 5000) }, false},
		"other":    {func(file string) error { return os.WriteFile(file, []byte(large("OTHER")), 0) }, false},
		"gone":     {os.Remove, true},
		"replaced": {replace(func(file string) error { return os.WriteFile(file, []byte(large("secret")), 0o600) }), true},
		"symlink":  {replace(func(file string) error { return os.Symlink(secret, file) }), true},
		"fifo":     {replace(func(file string) error { return syscall.Mkfifo(file, 0o600) }), true},
		"hardlink": {replace(func(file string) error { return os.Link(secret, file) }), true},
	}
	byDigest := map[digest.Digest]string{}
	for name := range changes {
		layered(t, root, extra, name, large(name))
		byDigest[digest.FromString(large(name))] = name
	}
	path := t.TempDir()
	s := openTarget(t, path)
	cloned := false
	summary, items := s.imported(t, root, func(c *transfer.Config) {
		c.Target = &meddling{s.Store, func(d digest.Digest) {
			if name := byDigest[d]; name != "" {
				if err := changes[name].change(blobFile(root, extra, d)); err != nil {
					t.Error(err)
				}
			}
		}}
	})
	cloned = summary.Cloned > 0
	for name, row := range changes {
		item := items[extra+" "+name]
		if row.stays || cloned {
			if item.Outcome != transfer.Imported {
				t.Errorf("%s: reported as %+v", name, item)
			}
			s.wantBlob(t, extra, core.Descriptor{Digest: digest.FromString(large(name))})
			continue
		}
		if item.Outcome != transfer.LeftOut || !strings.Contains(item.Reason, "was changed") {
			t.Errorf("%s: reported as %+v", name, item)
		}
		if _, err := s.Stat(t.Context(), extra, digest.FromString(large(name))); !errors.Is(err, core.ErrBlobUnknown) {
			t.Errorf("%s: the layer is here: %v", name, err)
		}
	}
	if _, err := s.Open(t.Context(), digest.FromString(large("secret"))); !errors.Is(err, bucket.ErrNotExist) {
		t.Errorf("a file outside of zot's directory is here: %v", err)
	}
	s.wantEverything(t)
	if left, err := os.ReadDir(filepath.Join(path, "private", "tmp")); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool {
		fi, err := e.Info()
		return err == nil && fi.Size() > 4096 // others are sources of links
	}) {
		t.Errorf("files were left in tmp: %v, %v", left, err)
	}
}

// collecting is a target whose collector runs when the content of an image is here and its manifest
// is not, and finds it old. It does so once for each of some images, and not more often than an
// import tries to put an image.
type collecting struct {
	*store.Store
	collect func()
	mu      sync.Mutex // guards images
	images  map[digest.Digest]bool
}

func (c *collecting) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	c.mu.Lock()
	if c.images[put.Digest] {
		delete(c.images, put.Digest)
		c.collect()
	}
	c.mu.Unlock()
	return c.Store.PutManifest(ctx, repo, put)
}

// The collector with a grace of a second takes nothing that was imported, whenever it runs.
func TestTheCollectorRunsDuringAnImport(t *testing.T) {
	root := fixture(t)
	images := map[digest.Digest]bool{}
	for i := range 3 {
		images[digest.Digest(layered(t, root, extra, fmt.Sprint("l", i), large(fmt.Sprint(i)), large("base")))] = true
	}
	before := look(t, root)
	var ahead atomic.Int64 // of the clock
	s := openTargetWith(t, t.TempDir(), store.Config{
		Now:      func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Settings: store.Settings{Grace: time.Second},
	})
	var removed atomic.Int64
	run := func() error {
		got, err := s.Collect(t.Context(), store.CollectOptions{})
		removed.Add(int64(got.Links))
		return err
	}
	collect := func() {
		ahead.Add(int64(time.Minute))
		if err := run(); err != nil {
			t.Error(err)
		}
	}
	// Another one runs all the time.
	over, ended := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-over:
				ended <- nil
				return
			default:
			}
			if err := run(); err != nil {
				ended <- err
				return
			}
		}
	}()
	summary, _ := s.imported(t, root, func(c *transfer.Config) {
		c.Target = &collecting{Store: s.Store, collect: collect, images: images}
	})
	close(over)
	must(t, <-ended)
	if n := removed.Load(); n < 3 {
		t.Errorf("the collections have removed %d links, so they have proven nothing", n)
	}
	for range 2 {
		collect()
	}
	if summary.LeftOut != 1 || summary.Skipped > 0 || summary.Linked+summary.Cloned > 7 { // each of the three brings the base
		t.Errorf("got %+v", summary)
	}
	s.wantEverything(t)
	for _, layer := range []string{"0", "1", "2", "base"} {
		s.wantBlob(t, extra, core.Descriptor{Digest: digest.FromString(large(layer))})
	}
	if again, _ := s.imported(t, root, nil); again.Imported > 0 || again.Blobs+again.Linked+again.Cloned > 0 {
		t.Errorf("the second import was %+v", again)
	}
	if !maps.Equal(look(t, root), before) {
		t.Error("zot's directory has changed")
	}
}

// dying is a bucket on a disk whose process is killed before its n-th write.
type dying struct {
	*dir.Bucket
	left atomic.Int64
}

func (d *dying) gone() error {
	if d.left.Add(-1) < 0 {
		return errKilled
	}
	return nil
}

func (d *dying) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	if err := d.gone(); err != nil {
		return bucket.Info{}, err
	}
	return d.Bucket.Put(ctx, key, data, cond)
}

func (d *dying) Delete(ctx context.Context, key string) error {
	return errors.Join(d.gone(), d.Bucket.Delete(ctx, key))
}

func (d *dying) Sync(ctx context.Context, keys ...string) error {
	if err := d.gone(); err != nil {
		return err
	}
	return d.Bucket.Sync(ctx, keys...)
}

func (d *dying) NewUpload(ctx context.Context) (bucket.Upload, error) {
	if err := d.gone(); err != nil {
		return nil, err
	}
	u, err := d.Bucket.NewUpload(ctx)
	return &dyingUpload{u, d}, err
}

func (d *dying) Adopt(ctx context.Context, f *os.File) (bucket.Adoption, error) {
	if err := d.gone(); err != nil {
		return nil, err
	}
	a, err := d.Bucket.Adopt(ctx, f)
	return &dyingAdoption{a, d}, err
}

type dyingUpload struct {
	bucket.Upload
	d *dying
}

func (u *dyingUpload) Append(ctx context.Context, r io.Reader) (int64, error) {
	if err := u.d.gone(); err != nil {
		return 0, err
	}
	return u.Upload.Append(ctx, r)
}

func (u *dyingUpload) Commit(ctx context.Context, key, damaged string) (bucket.Info, error) {
	if err := u.d.gone(); err != nil {
		return bucket.Info{}, err
	}
	return u.Upload.Commit(ctx, key, damaged)
}

func (u *dyingUpload) Abort(ctx context.Context) error {
	if err := u.d.gone(); err != nil {
		return err
	}
	return u.Upload.Abort(ctx)
}

type dyingAdoption struct {
	bucket.Adoption
	d *dying
}

func (a *dyingAdoption) Commit(ctx context.Context, key, damaged string) (bucket.Info, bool, error) {
	if err := a.d.gone(); err != nil {
		return bucket.Info{}, false, err
	}
	return a.Adoption.Commit(ctx, key, damaged)
}

func (a *dyingAdoption) Close() error {
	if err := a.d.gone(); err != nil {
		return err
	}
	return a.Adoption.Close()
}

// keys are those of all objects that an import makes.
func (s target) keys(t testing.TB) []string {
	t.Helper()
	var keys []string
	for info, err := range s.bucket.List(t.Context(), "", "") {
		must(t, err)
		keys = append(keys, info.Key)
	}
	return keys
}

// TestAnImportIsKilledAtEachWrite cuts an import before some of the writes to the disk, or each
// with REGISTRY_SLOW. The next import, by another process, ends with the objects of an import that
// was never cut, and zot's directory is as it was.
func TestAnImportIsKilledAtEachWrite(t *testing.T) {
	root := fixture(t)
	layered(t, root, extra, "one", large("one"), large("base"))
	layered(t, root, extra, "two", large("two"), large("base"))
	layered(t, root, more, "three", large("one"), large("base"))
	before := look(t, root)
	whole := openTarget(t, t.TempDir())
	whole.imported(t, root, nil)
	want := whole.keys(t)
	step := int64(37)
	if os.Getenv("REGISTRY_SLOW") != "" {
		step = 1
	}
	killed := true
	for n := int64(0); killed; n += step {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
			path := t.TempDir()
			if killed = killedImport(t, root, path, n); !killed && n < 200 {
				t.Errorf("the import took %d writes", n)
			}
			s := openTarget(t, path)
			summary, _ := s.imported(t, root, nil)
			s.wantEverything(t)
			if got := s.keys(t); !slices.Equal(got, want) {
				t.Errorf("there are %d objects, want %d", len(got), len(want))
			}
			if summary.Skipped > 0 || summary.LeftOut != 1 {
				t.Errorf("got %+v", summary)
			}
			if !maps.Equal(look(t, root), before) {
				t.Error("zot's directory has changed")
			}
		})
		if t.Failed() {
			return
		}
	}
}

// killedImport imports until the n-th write, and reports whether there were so many.
func killedImport(t *testing.T, root, path string, n int64) (killed bool) {
	t.Helper()
	storage, err := dir.Open(path, dir.Config{Verify: store.Verify})
	must(t, err)
	defer func() { must(t, storage.Close()) }()
	b, err := storage.Bucket("private")
	must(t, err)
	d := &dying{Bucket: b}
	d.left.Store(1 << 40)
	s, err := store.Open(t.Context(), d, store.Config{Names: &coretest.MemoryNames{}})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	d.left.Store(n)
	_, err = transfer.Import(t.Context(), transfer.Config{Source: source, Target: s, Notes: d, Name: core.ParseName, Link: true})
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	return err != nil
}

// Indexes that name each other cannot have their digests, and are left out; nothing waits for ever.
func TestIndexesInACircle(t *testing.T) {
	root := fixture(t)
	index := func(child digest.Digest) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":5}]}`, child)
	}
	layered(t, root, extra, "whole", large("whole"))
	a, b, self := digest.FromString("a"), digest.FromString("b"), digest.FromString("self")
	for d, child := range map[digest.Digest]digest.Digest{a: b, b: a, self: self} {
		must(t, os.WriteFile(blobFile(root, extra, d), index(child), 0o600))
	}
	add(t, root, extra, "circle", index(a))
	add(t, root, extra, "self", index(self))
	add(t, root, extra, "../../escape", index(digest.FromString("absent")))
	doc := index(digest.FromString("absent"))
	for range 10 { // more than any image has
		must(t, os.WriteFile(blobFile(root, extra, digest.FromBytes(doc)), doc, 0o600))
		doc = index(digest.FromBytes(doc))
	}
	add(t, root, extra, "deep", doc)
	s := openTarget(t, t.TempDir())
	_, items := s.imported(t, root, nil)
	for name, want := range map[string]string{string(a): "is damaged", string(self): "is damaged", "../../escape": "invalid tag"} {
		if item := items[extra+" "+name]; item.Outcome != transfer.LeftOut || !strings.Contains(item.Reason, want) {
			t.Errorf("%s was reported as %+v, want %q", name, item, want)
		}
	}
	deep := 0
	for _, item := range items {
		if item.Outcome == transfer.LeftOut && strings.Contains(item.Reason, "levels deep") {
			deep++
		}
	}
	if whole := items[extra+" whole"]; deep != 1 || whole.Outcome != transfer.Imported {
		t.Errorf("%d indexes are too deep, want one, and the good image was reported as %+v", deep, whole)
	}
	s.wantEverything(t)
}
