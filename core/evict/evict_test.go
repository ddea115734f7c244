package evict_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kib = int64(1 << 10)
	// day is the unit of these tests: evictors look every ten minutes, and a test of a
	// hundred true days would look 14,400 times.
	day = 90 * time.Minute
)

// fakeDisk is as full as a test says.
type fakeDisk struct {
	mu          sync.Mutex
	free, total int64
	err         error
}

func (d *fakeDisk) Space() (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, d.total, d.err
}

func (d *fakeDisk) add(free int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free += free
}

func (d *fakeDisk) set(free int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = free
}

// shelf is a store with an evictor, in which everything happens in fake time.
type shelf struct {
	*store.Store
	*evict.Evictor
	t      *testing.T
	state  *dir.Bucket
	disk   *fakeDisk
	pulled *pulls.Times

	mu    sync.Mutex // guards what follows
	names map[digest.Digest]string
	gone  []string // in the order of eviction
}

// shelved runs a test on a disk with plenty of room.
func shelved(t *testing.T, settings evict.Settings, test func(s *shelf)) {
	t.Helper()
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		storage, err := dir.Open(path, dir.Config{Verify: store.Verify})
		if err != nil {
			t.Fatal(err)
		}
		b, err := storage.Bucket("mirrors")
		if err != nil {
			t.Fatal(err)
		}
		s := &shelf{t: t, state: b, disk: &fakeDisk{free: 1 << 40, total: 1 << 40}, names: map[digest.Digest]string{}}
		if s.Store, err = store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}, Sparse: true}); err != nil {
			t.Fatal(err)
		}
		s.pulled = pulls.New(pulls.Config{Bucket: b, Prefix: "mirror/pulls/"})
		s.Evictor = evict.New(evict.Config{
			Local: s.Store, Pulls: s.pulled, Disk: s.disk,
			Beside: &mirror.Beside{State: b, Local: s.Store, Log: slog.New(slog.DiscardHandler)},
			Evicted: func(gone store.Evicted) {
				s.disk.add(gone.Bytes)
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, d := range gone.Manifests {
					s.gone = append(s.gone, s.names[d])
				}
			},
		})
		s.Evictor.SetSettings(settings)
		defer func() {
			err := errors.Join(s.Evictor.Close(), s.pulled.Close(), s.Store.Close(), storage.Close())
			if err != nil {
				t.Error(err)
			}
		}()
		test(s)
	})
}

// image brings an image with a layer of its own of 100 KiB, and with a shared one of
// 100 KiB, and pulls it. Then a minute goes by.
func (s *shelf) image(repo, name string) digest.Digest {
	s.t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Annotations: map[string]string{"name": name}}
	m.SchemaVersion = 2
	m.Config = s.blob(repo, "{}")
	m.Layers = []core.Descriptor{s.blob(repo, strings.Repeat("shared", 100<<10/6)), s.blob(repo, strings.Repeat(name+"/", 100<<10/(len(name)+1)))}
	return s.put(repo, name, m.MediaType, m)
}

func (s *shelf) index(repo, name string, children ...digest.Digest) digest.Digest {
	s.t.Helper()
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Annotations: map[string]string{"name": name}}
	x.SchemaVersion = 2
	for _, d := range append(children, digest.FromString("a platform that nobody asked for")) {
		x.Manifests = append(x.Manifests, core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1})
	}
	return s.put(repo, name, x.MediaType, x)
}

func (s *shelf) put(repo, name, mediaType string, doc any) digest.Digest {
	s.t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := s.PutManifest(s.t.Context(), repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: []string{name}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.names[got.Descriptor.Digest] = name
	s.mu.Unlock()
	s.pull(repo, got.Descriptor.Digest)
	return got.Descriptor.Digest
}

// pull is a client's, after which a minute goes by.
func (s *shelf) pull(repo string, d digest.Digest) {
	s.Pulled(repo, d, "", "")
	time.Sleep(time.Minute)
}

func (s *shelf) blob(repo, content string) core.Descriptor {
	s.t.Helper()
	d := digest.FromString(content)
	u, err := s.NewUpload(s.t.Context(), repo, digest.SHA256)
	if err != nil {
		s.t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Append(s.t.Context(), 0, strings.NewReader(content)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := u.Commit(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
	return core.Descriptor{MediaType: "a/b", Digest: d, Size: int64(len(content))}
}

// wait lets time pass, and the evictor do what is due.
func (s *shelf) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// went checks what was evicted, in order, since the last look.
func (s *shelf) went(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.gone, want) {
		s.t.Errorf("evicted %q, want %q", s.gone, want)
	}
	s.gone = nil
}

const (
	nginx = "docker.io/library/nginx"
	httpd = "docker.io/library/httpd"
	etcd  = "quay.io/coreos/etcd"
)

var ninety = evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {Keep: 90 * day}}}

func TestEvictionByTheTimeSinceThePull(t *testing.T) {
	settings := evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {Keep: 90 * day}, "quay.io": {Keep: 10 * day}}}
	shelved(t, settings, func(s *shelf) {
		old := s.image(nginx, "old")
		s.image(nginx, "unpulled")
		s.image(etcd, "etcd")
		s.wait(9 * day)
		s.went()
		s.wait(2 * day)
		s.went("etcd")
		s.pull(nginx, old)
		s.wait(78 * day)
		s.went()
		s.wait(2 * day)
		s.went("unpulled")
		s.wait(11 * day)
		s.went("old")
		if held := s.Held(); held["docker.io"] != 0 || held["quay.io"] != 0 {
			s.t.Errorf("%v is held when all is gone", held)
		}
		for name, err := range s.pulled.Repositories(s.t.Context()) {
			s.t.Errorf("%s, %v: times of what is gone", name, err)
		}
	})
}

func TestEvictionBySize(t *testing.T) {
	// The shared layer is counted once: room for it and three more.
	settings := evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {MaxSize: 410 * kib}}}
	shelved(t, settings, func(s *shelf) {
		one := s.image(nginx, "one")
		s.image(httpd, "two")
		s.image(nginx, "three")
		s.image(etcd, "elsewhere")
		s.wait(2 * time.Hour)
		s.went()
		s.pull(nginx, one)
		s.image(httpd, "four")
		s.image(httpd, "five")
		// Content that was pulled within the grace stays even above the limit.
		s.wait(20 * time.Minute)
		s.went("two", "three")
		s.image(httpd, "six")
		s.wait(10 * time.Minute)
		s.went()
		s.wait(2 * time.Hour)
		s.went("one")
		if held := s.Held()["docker.io"]; held > 410*kib || held < 400*kib {
			s.t.Errorf("%d KiB are held", held/kib)
		}
		if _, err := s.Manifest(s.t.Context(), httpd, core.Reference{Tag: "six"}); err != nil {
			s.t.Errorf("the newest: %v", err)
		}
	})
}

func TestEvictionForTheDisk(t *testing.T) {
	shelved(t, evict.Settings{MinFree: evict.MinFree{Bytes: 1000 * kib}}, func(s *shelf) {
		s.image(nginx, "one")
		s.image(etcd, "two")
		s.image(nginx, "three")
		s.wait(time.Hour)
		s.disk.set(910 * kib)
		// The grace does not hold here, and the mirror does not matter. A tenth more is
		// freed than is lacking, so the second goes too.
		if !s.Room(-1) {
			s.t.Error("nothing more is kept while eviction can free what is lacking")
		}
		s.wait(time.Minute)
		s.went("one", "two")
		if !s.Room(0) {
			s.t.Error("nothing more is kept when there is room")
		}
		// Somebody else fills the disk: all goes, and then nothing more is kept, though
		// more is free than the half.
		s.disk.set(600 * kib)
		s.wait(time.Hour)
		s.went("three")
		if s.Room(-1) {
			s.t.Error("more is kept when nothing is left to evict")
		}
		s.disk.add(1 << 30)
		if !s.Room(1 << 20) {
			s.t.Error("nothing is kept although there is room again")
		}
		if s.Room(2 << 30) {
			s.t.Error("more is kept than there is room for")
		}
		s.disk.mu.Lock()
		s.disk.err = errors.ErrUnsupported
		s.disk.mu.Unlock()
		if !s.Room(2 << 30) {
			s.t.Error("nothing is kept on a disk that does not tell")
		}
	})
}

// An index and the platforms that are held of it go together, by the last pull of any
// of them; what another index names stays.
func TestAnIndexGoesWithItsPlatforms(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		amd, arm := s.image(nginx, "amd"), s.image(nginx, "arm")
		s.index(nginx, "first", amd, arm)
		shared := s.image(nginx, "shared")
		s.index(nginx, "second", shared)
		third := s.index(nginx, "third", shared)
		s.wait(80 * day)
		s.pull(nginx, arm)   // by digest, without asking for the index
		s.pull(nginx, third) // the tag is looked at, and the platform is not asked for
		s.wait(20 * day)
		s.went("second")
		for _, tag := range []string{"first", "amd", "arm", "third", "shared"} {
			if _, err := s.Manifest(s.t.Context(), nginx, core.Reference{Tag: tag}); err != nil {
				s.t.Errorf("%s: %v", tag, err)
			}
		}
		s.wait(80 * day)
		s.mu.Lock()
		slices.Sort(s.gone)
		s.mu.Unlock()
		s.went("amd", "arm", "first", "shared", "third")
	})
}

func TestReadersOutliveAnEviction(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		s.image(nginx, "one")
		content := strings.Repeat("one/", 100<<10/4)
		b, err := s.Blob(s.t.Context(), nginx, digest.FromString(content))
		if err != nil {
			s.t.Fatal(err)
		}
		defer b.Close()
		s.wait(100 * day)
		s.went("one")
		got, err := io.ReadAll(b)
		if err != nil || string(got) != content {
			s.t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
}

func TestParseMinFree(t *testing.T) {
	for text, want := range map[string]evict.MinFree{
		"5%": {Percent: 5}, "0.5%": {Percent: 0.5}, "10GiB": {Bytes: 10 << 30}, "0": {},
	} {
		if got, err := evict.ParseMinFree(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "NaN%", "100%", "-1%", "five", "-1GiB", "1e30GiB"} {
		if got, err := evict.ParseMinFree(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestTheDiskHasSpace(t *testing.T) {
	free, total, err := evict.DiskOf(t.TempDir()).Space()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || free <= 0 || total < free {
		t.Errorf("%d of %d bytes are free, %v", free, total, err)
	}
}
