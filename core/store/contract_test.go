package store_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStore opens a store over b, which must end before b does.
func openStore(t testing.TB, b bucket.Bucket, config store.Config) *store.Store {
	t.Helper()
	if config.Names == nil {
		config.Names = &coretest.MemoryNames{}
	}
	s, err := store.Open(context.Background(), b, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

func TestStoreIsARegistry(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			return openStore(t, newMemory(time.Now), store.Config{})
		})
	})
	// Eight bytes hold no manifest, so every answer is the bucket's.
	t.Run("in memory without a cache", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			return openStore(t, newMemory(time.Now), store.Config{Settings: store.Settings{CacheSize: 8}})
		})
	})
	t.Run("with an index that is kept", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			return openStore(t, newMemory(time.Now), store.Config{Names: indexAt(t, filepath.Join(t.TempDir(), "private.db"), slog.Default())})
		})
	})
	// Every write to it is durable at once.
	t.Run("in a bucket without a barrier", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			m := newMemory(time.Now)
			return openStore(t, following{bare{m}, m}, store.Config{})
		})
	})
	t.Run("on disk", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry { return openStore(t, openDir(t), store.Config{}) })
	})
}

// bare is a bucket without optional abilities.
type bare struct{ bucket.Bucket }

// following is a bucket whose only ability is that uploads can be read.
type following struct {
	bucket.Bucket
	uploads bucket.FollowUpload
}

func (f following) FollowUpload(ctx context.Context, id string) (bucket.UploadReader, error) {
	return f.uploads.FollowUpload(ctx, id)
}

func TestWhatAStoreDoesWithoutAbilities(t *testing.T) {
	s := openStore(t, bare{newMemory(time.Now)}, store.Config{})
	for _, c := range []struct {
		begun, committed digest.Algorithm
		want             error
	}{
		{digest.SHA256, digest.SHA256, nil},
		// The digest so far is of no use, and the bytes cannot be read again.
		{digest.SHA256, digest.SHA512, core.ErrBlobUploadUnknown},
	} {
		u, err := s.NewUpload(t.Context(), repo, c.begun)
		must(t, err)
		_, err = u.Append(t.Context(), 0, strings.NewReader("content"))
		must(t, err)
		if _, err = u.Commit(t.Context(), c.committed.FromString("content")); !errors.Is(err, c.want) {
			t.Errorf("begun with %s, committed with %s: %v, want %v", c.begun, c.committed, err, c.want)
		}
		must(t, u.Close())
	}
	for name, b := range map[string]bucket.Bucket{
		"unfinished uploads": bare{newMemory(time.Now)},
		"ends such reads":    following{bare{newMemory(time.Now)}, newMemory(time.Now)},
	} {
		mirrors, err := store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}, Sparse: true})
		if err == nil {
			must(t, mirrors.Close())
			t.Errorf("%s: a mirror's store was opened", name)
		} else if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "local disk") {
			t.Errorf("got %q, want the missing ability and the remedy", err)
		}
	}
}
