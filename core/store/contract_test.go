package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStore opens a store over b, which must end before b does.
func openStore(t testing.TB, b bucket.Bucket, options store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), b, options)
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
			return openStore(t, newMemory(time.Now), store.Options{})
		})
	})
	// Eight bytes hold no manifest, so every answer is the bucket's.
	t.Run("in memory without a cache", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			return openStore(t, newMemory(time.Now), store.Options{CacheSize: 8})
		})
	})
	t.Run("with an index that is kept", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry {
			return openStore(t, newMemory(time.Now), store.Options{IndexPath: filepath.Join(t.TempDir(), "private.db")})
		})
	})
	t.Run("on disk", func(t *testing.T) {
		coretest.Registry(t, func(t *testing.T) core.Registry { return openStore(t, openDir(t), store.Options{}) })
	})
}
