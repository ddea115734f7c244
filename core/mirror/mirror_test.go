package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
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

// fixture is a mirror of a fake upstream that holds one image.
type fixture struct {
	*mirror.Mirror
	up    *upstreamtest.Upstream
	path  string
	full  *fullBucket
	blob  digest.Digest
	image digest.Digest
	stop  func()
	// keeper is the mirror's from the next open on.
	keeper mirror.Keeper
}

func start(t *testing.T, settings mirror.Settings) *fixture {
	t.Helper()
	f := &fixture{up: upstreamtest.New(t, upstreamtest.Options{}), path: t.TempDir()}
	f.blob = f.up.Blob("library/nginx", layer)
	f.image = f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)), "latest")
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
	storage, err := dir.Open(f.path, dir.Options{Verify: store.Verify})
	must(err)
	b, err := storage.Bucket("mirrors")
	must(err)
	f.full = &fullBucket{Bucket: b}
	s, err := store.Open(context.Background(), f.full, store.Options{Sparse: true})
	must(err)
	client, err := upstream.New(upstream.Config{Name: "docker.io", URLs: []string{f.up.URL}, AllowPrivate: f.up.AllowPrivate(),
		// A breaker that closes again at once: each row is about one failure.
		HeadTimeout: 2 * time.Second, StallTimeout: 2 * time.Second, Breaker: time.Nanosecond})
	must(err)
	f.Mirror, err = mirror.New(mirror.Config{Name: "docker.io", Local: s, State: b, Upstream: client, Settings: settings, Keeper: f.keeper})
	must(err)
	f.stop = sync.OnceFunc(func() {
		_ = f.Mirror.Close()
		_ = client.Close()
		_ = s.Close()
		_ = storage.Close()
	})
}

type fullBucket struct {
	bucket.Bucket
	mu   sync.Mutex
	room int64
	set  bool
}

func (b *fullBucket) NewUpload(ctx context.Context) (bucket.Upload, error) {
	u, err := b.Bucket.NewUpload(ctx)
	return &fullUpload{u, b}, err
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
	return u.Upload.Append(ctx, r)
}

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

func TestATagIsFreshCheckedOrStale(t *testing.T) {
	f := start(t, mirror.Settings{TTL: time.Hour})
	if _, err := f.Manifest(context.Background(), repo, latest); !errors.Is(err, core.ErrDenied) {
		t.Errorf("without fetch: %v", err)
	}
	f.saw(t)
	for range 3 {
		m, err := f.Manifest(fetch, repo, latest)
		if err != nil || m.Descriptor.Digest != f.image {
			t.Fatalf("got %v, %v", m.Descriptor, err)
		}
	}
	f.saw(t, getTag)
	f.SetSettings(mirror.Settings{TTL: 1})
	if _, err := f.Manifest(fetch, repo, latest); err != nil {
		t.Fatal(err)
	}
	f.saw(t, headTag)
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
		err   error
	}{
		{"a 500 is answered with the held tag", upstreamtest.Fault{Status: 500}, nil},
		{"so is silence", upstreamtest.Fault{Hang: true}, nil},
		{"a 403 is not", upstreamtest.Fault{Status: 403}, core.ErrDenied},
		{"nor a 500 after a 403", upstreamtest.Fault{Status: 500}, core.ErrUpstream},
	} {
		x := f.up.Fault(row.fault)
		_, err := f.Manifest(fetch, repo, latest)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.err)
		}
		// Never a GET, which may count as a pull, after a HEAD that failed.
		f.saw(t, headTag)
		x.Lift()
	}
	_, err := f.Manifest(fetch, repo, core.Reference{Tag: "none"})
	if !errors.Is(err, core.ErrManifestUnknown) {
		t.Errorf("missing tag: %v", err)
	}
	f.up.Forget()
	if _, err := f.Manifest(fetch, repo, core.Reference{Tag: "none"}); !errors.Is(err, core.ErrManifestUnknown) {
		t.Errorf("missing tag again: %v", err)
	}
	f.saw(t)
	if _, err := f.Manifest(fetch, repo, latest); err != nil {
		t.Fatal(err)
	}
	f.up.Forget()
	f.up.Fault(upstreamtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"60"}}})
	if _, err := f.Manifest(fetch, repo, latest); err != nil {
		t.Errorf("429 with a held tag: %v", err)
	}
	f.saw(t, headTag)
	_, err = f.Manifest(fetch, repo, core.Reference{Tag: "cold"})
	if !errors.Is(err, core.ErrTooManyRequests) || core.Retry(err).IsZero() {
		t.Errorf("429 with nothing held: %v, retry %v", err, core.Retry(err))
	}
}

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
	f.saw(t, "registry HEAD /v2/library/httpd/blobs/"+string(f.blob))
}

func TestABrokenBodyIsResumedAndNeverEndsCleanly(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
		good  bool
		// requests is how many the upstream saw: the first, and those that resume.
		requests int
	}{
		{"cut", upstreamtest.Fault{CutOff: true, After: 300000, Times: 1}, true, 2},
		{"stalled", upstreamtest.Fault{Stall: true, After: 300000, Times: 1}, true, 2},
		{"short of the size that the manifest says", upstreamtest.Fault{Short: true, After: 300000, Times: 1}, true, 2},
		{"without a length", upstreamtest.Fault{NoLength: true}, true, 1},
		{"corrupt", upstreamtest.Fault{Corrupt: true}, false, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, mirror.Settings{})
			if _, err := f.Manifest(fetch, repo, latest); err != nil {
				t.Fatal(err)
			}
			f.up.Forget()
			row.fault.Path = "/blobs/"
			f.up.Fault(row.fault)
			got, err := read(f, fetch, repo, f.blob)
			if row.good != (err == nil && bytes.Equal(got, layer)) || !row.good && len(got) >= len(layer) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if asked := f.up.Requests(); len(asked) != row.requests {
				t.Errorf("the upstream saw %q, want %d requests", asked, row.requests)
			}
		})
	}
}

func TestOnAFullDiskEveryReaderGetsItsBytes(t *testing.T) {
	f := start(t, mirror.Settings{})
	f.full.set, f.full.room = true, 200000
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
	if asked := len(f.up.Requests()); asked > 11 {
		t.Errorf("the upstream saw %d requests, want the download's and one of each reader", asked)
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
