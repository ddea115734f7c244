package index_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// Changes that name much are not collected until there are many: each has 200 KB in memory.
func TestHeavyChangesAreWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := open(t, "")
		defer x.Close()
		complete(t, x)
		heavy := held("team/app", 1)
		for n := range core.MaxNamed / 2 {
			heavy.Named = append(heavy.Named, digest.FromString(fmt.Sprint(n)))
		}
		before := index.RowsRead()
		x.Apply(heavy)
		if index.RowsRead() != before {
			t.Error("one was written at once")
		}
		heavy.Digest = image("team/app", 2)
		if x.Apply(heavy); index.RowsRead() == before {
			t.Error("the second was not written at once")
		}

		// So it is when a store is described.
		waiting := 0
		err := x.Describe(t.Context(), func(yield func(store.Change, error) bool) {
			for n := range 20 {
				heavy.Digest = image("team/app", 100+n)
				before := index.RowsRead()
				if !yield(heavy, nil) {
					return
				}
				if waiting++; index.RowsRead() > before {
					waiting = 0
				}
				if waiting > 1 {
					t.Errorf("%d changes wait", waiting)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
