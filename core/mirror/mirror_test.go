package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	repo  = "docker.io/library/nginx"
	other = "docker.io/library/httpd"
)

var (
	latest = core.Reference{Tag: "latest"}
	layer  = bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
)

func document(size int) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"a/b","digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, digest.FromString("{}"), digest.FromBytes(layer), size)
}

// fixture is a mirror of a fake upstream that holds one image, over a network in
// memory, so that it works in a bubble of fake time.
type fixture struct {
	*mirror.Mirror
	up       *upstreamtest.Upstream
	network  *upstreamtest.Network
	settings mirror.Settings
	keeper   mirror.Keeper
	config   upstream.Config
	path     string
	index    bool // the next process has a catalog
	local    *store.Store
	full     *fullBucket
	log      *lines
	blob     digest.Digest
	image    digest.Digest
	stop     func()
}

func start(t *testing.T, settings mirror.Settings) *fixture {
	t.Helper()
	return startAs(t, upstreamtest.Config{}, settings)
}

func startAs(t *testing.T, o upstreamtest.Config, settings mirror.Settings) *fixture {
	t.Helper()
	f := &fixture{network: upstreamtest.NewNetwork(), path: t.TempDir(), settings: settings, log: &lines{}}
	o.Network = f.network
	f.up = upstreamtest.New(t, o)
	f.blob = f.up.Blob("library/nginx", layer)
	f.image = f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "latest")
	f.config = upstream.Config{Name: "docker.io", URLs: []string{f.up.URL}, Dial: f.network.Dial}
	f.open(t, settings)
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fixture) open(t *testing.T, settings mirror.Settings) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	storage, err := dir.Open(f.path, dir.Config{Verify: store.Verify})
	must(err)
	b, err := storage.Bucket("mirrors")
	must(err)
	f.full = &fullBucket{Bucket: b}
	config := store.Config{Names: &coretest.MemoryNames{}, Sparse: true}
	if f.index {
		x, err := index.ForStore("", slog.New(slog.DiscardHandler))
		must(err)
		config.Names, config.Projection = x, x
	}
	s, err := store.Open(context.Background(), f.full, config)
	must(err)
	f.local = s
	client, err := upstream.New(f.config)
	must(err)
	f.Mirror, err = mirror.New(mirror.Config{
		Name: "docker.io", Local: s, State: f.full, Upstream: client, Settings: settings, Keeper: f.keeper,
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	must(err)
	f.stop = sync.OnceFunc(func() {
		_ = f.Mirror.Close()
		_ = client.Close()
		_ = s.Close()
		_ = storage.Close()
	})
}

// restart is the next process, with nothing in memory.
func (f *fixture) restart(t *testing.T) {
	t.Helper()
	f.stop()
	f.open(t, f.settings)
}

// lines is a log.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fullBucket is a disk that fills up, or gets stuck.
type fullBucket struct {
	*dir.Bucket
	mu   sync.Mutex // guards what follows
	room int64
	set  bool
	ends []int64 // where appends to uploads ended
	// stuck, if not nil, keeps writes until it is closed. They fail with lost then.
	stuck chan struct{}
	lost  error
	// unwritable is a prefix of keys that cannot be written, unless it is empty.
	unwritable string
	gets       []string // keys of what was read, in order
	// unreadable is a part of keys that cannot be read, unless it is empty, and missed counts
	// the tries.
	unreadable string
	missed     int
	got        func(key string) // is called after each Get, unless it is nil; set before the first
	// badScratch makes scratch files that cannot be read.
	badScratch bool
}

func (b *fullBucket) Scratch() (bucket.ScratchFile, error) {
	file, err := b.Bucket.Scratch()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && b.badScratch {
		return badScratch{file}, nil
	}
	return file, err
}

func (b *fullBucket) Get(ctx context.Context, key string) ([]byte, bucket.Info, error) {
	b.mu.Lock()
	if b.unreadable != "" && strings.Contains(key, b.unreadable) {
		defer b.mu.Unlock()
		b.missed++
		return nil, bucket.Info{}, errors.New("input/output error")
	}
	b.mu.Unlock()
	data, info, err := b.Bucket.Get(ctx, key)
	if b.got != nil {
		b.got(key)
	}
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.gets = append(b.gets, key)
	}
	return data, info, err
}

// refuse makes the keys that begin with prefix fail to be written, or not any more.
func (b *fullBucket) refuse(prefix string, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unwritable = ""; on {
		b.unwritable = prefix
	}
}

// stick keeps what is written from now on, until end is called: then it is written, or
// lost if there is an error.
func (b *fullBucket) stick() (end func(lost error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stuck := make(chan struct{})
	b.stuck = stuck
	return func(lost error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lost = lost
		close(stuck)
	}
}

func (b *fullBucket) wait() error {
	b.mu.Lock()
	stuck := b.stuck
	b.mu.Unlock()
	if stuck == nil {
		return nil
	}
	<-stuck
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

func (b *fullBucket) Put(ctx context.Context, key string, data []byte, cond bucket.Condition) (bucket.Info, error) {
	if err := b.wait(); err != nil {
		return bucket.Info{}, err
	}
	b.mu.Lock()
	unwritable := b.unwritable
	b.mu.Unlock()
	if unwritable != "" && strings.HasPrefix(key, unwritable) {
		return bucket.Info{}, bucket.ErrNoSpace
	}
	return b.Bucket.Put(ctx, key, data, cond)
}

func (b *fullBucket) Sync(ctx context.Context, keys ...string) error {
	if err := b.wait(); err != nil {
		return err
	}
	return b.Bucket.Sync(ctx, keys...)
}

func (b *fullBucket) NewUpload(ctx context.Context) (bucket.Upload, error) {
	if err := b.wait(); err != nil {
		return nil, err
	}
	u, err := b.Bucket.NewUpload(ctx)
	return &fullUpload{u, b}, err
}

func (b *fullBucket) Upload(ctx context.Context, id string) (bucket.Upload, error) {
	u, err := b.Bucket.Upload(ctx, id)
	if err != nil {
		return nil, err
	}
	return &fullUpload{u, b}, nil
}

type fullUpload struct {
	bucket.Upload
	b *fullBucket
}

func (u *fullUpload) Append(ctx context.Context, r io.Reader) (int64, error) {
	u.b.mu.Lock()
	set, room := u.b.set, u.b.room
	u.b.mu.Unlock()
	if set && u.Offset() >= room {
		return 0, bucket.ErrNoSpace
	}
	if set {
		r = io.MultiReader(io.LimitReader(r, room-u.Offset()), fullDisk{})
	}
	n, err := u.Upload.Append(ctx, r)
	if set && u.Offset() < room && errors.Is(err, bucket.ErrNoSpace) {
		err = nil // all that was to be written had room
	}
	u.b.mu.Lock()
	defer u.b.mu.Unlock()
	u.b.ends = append(u.b.ends, u.Offset())
	return n, err
}

// fullDisk is the rest of what has no room.
type fullDisk struct{}

func (fullDisk) Read([]byte) (int, error) { return 0, bucket.ErrNoSpace }

var fetch = core.WithAccess(context.Background(), core.Access{Fetch: true})

func read(f *fixture, ctx context.Context, name string, d digest.Digest) ([]byte, error) {
	b, err := f.Blob(ctx, name, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func (f *fixture) saw(t *testing.T, want ...string) {
	t.Helper()
	if got := f.up.Requests(); !slices.Equal(got, want) {
		t.Errorf("the upstream saw\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	f.up.Forget()
}

const (
	headTag = "registry HEAD /v2/library/nginx/manifests/latest"
	getTag  = "registry GET /v2/library/nginx/manifests/latest"
)

func TestHundredReadersOfAColdBlobAreOneDownload(t *testing.T) {
	f := start(t, mirror.Settings{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			got, err := read(f, fetch, repo, f.blob)
			if err != nil || !bytes.Equal(got, layer) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	f.saw(t, "registry GET /v2/library/nginx/blobs/"+string(f.blob))
	if _, err := read(f, context.Background(), repo, f.blob); err != nil {
		t.Errorf("held: %v", err)
	}
	if _, err := read(f, fetch, other, f.blob); !errors.Is(err, core.ErrBlobUnknown) {
		t.Errorf("another repository that lacks it: %v", err)
	}
	lacks := "/v2/library/httpd/blobs/" + string(f.blob)
	f.saw(t, "registry HEAD "+lacks, "registry GET "+lacks+" bytes=0-0")
}

func TestOnAFullDiskEveryReaderGetsItsBytes(t *testing.T) {
	for _, room := range []int64{1<<20 - 1, 600_001, 300_000, 256 << 10, 200_000, 1, 0} {
		t.Run(fmt.Sprint(room, " bytes are left"), func(t *testing.T) {
			f := start(t, mirror.Settings{})
			f.full.set, f.full.room = true, room
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					got, err := read(f, fetch, repo, f.blob)
					if err != nil || !bytes.Equal(got, layer) {
						t.Errorf("got %d bytes, %v", len(got), err)
					}
				})
			}
			wg.Wait()
			// A reader that comes after a download was abandoned begins the next one, and
			// continues independently.
			if asked := len(f.up.Requests()); asked > 20 {
				t.Errorf("the upstream saw %d requests, want at most a download and one more of each reader", asked)
			}
		})
	}
}

func TestADownloadIsResumedAfterARestart(t *testing.T) {
	f := start(t, mirror.Settings{})
	x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 300000})
	b, err := f.Blob(fetch, repo, f.blob)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 299999)); err != nil {
		t.Fatal(err)
	}
	f.stop()
	if _, err := io.ReadAll(b); err == nil {
		t.Error("a clean end")
	}
	b.Close()
	x.Lift()
	f.up.Forget()
	f.open(t, mirror.Settings{})
	got, err := read(f, fetch, repo, f.blob)
	if err != nil || !bytes.Equal(got, layer) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	f.saw(t, "registry GET /v2/library/nginx/blobs/"+string(f.blob)+" bytes=300000-")
}
