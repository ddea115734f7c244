package fusefs_test

import (
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/integration/fusefs"
)

// On the Macs that the registry runs on, "Tag" and "tag" are one file.
func TestBucketWhereCaseFolds(t *testing.T) {
	type place struct {
		path string
		open *dir.Storage
	}
	places := make(map[*testing.T]*place) // a test's first call makes one, later calls reuse it
	coretest.Bucket(t, func(t *testing.T) bucket.Bucket {
		p := places[t]
		if p == nil {
			p = &place{path: fusefs.Mount(t, fusefs.New(fusefs.Options{FoldCase: true}))}
			places[t] = p
			t.Cleanup(func() {
				if err := p.open.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		} else if err := p.open.Close(); err != nil {
			t.Fatal(err)
		}
		storage, err := dir.Open(p.path, dir.Config{Verify: store.Verify})
		if err != nil {
			t.Fatal(err)
		}
		p.open = storage
		b, err := storage.Bucket("private")
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
