package mirror_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Two requests that wait for the same are one request to the upstream, below the first one's span.
func TestWaitersAreLinkedToWhatTheyWaitFor(t *testing.T) {
	for name, row := range map[string]struct {
		path string // that hangs
		get  func(ctx context.Context, f *fixture) error
		want string // the span that both wait for
	}{
		"a tag": {"/manifests/", func(ctx context.Context, f *fixture) error {
			_, err := f.Manifest(ctx, repo, latest)
			return err
		}, "mirror.tag"},
		"a blob": {"/blobs/", func(ctx context.Context, f *fixture) error {
			blob, err := f.Blob(ctx, repo, f.blob)
			if err == nil {
				_, err = io.Copy(io.Discard, blob)
				err = cmp.Or(err, blob.Close())
			}
			return err
		}, "mirror.download"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				hangs := f.up.Fault(upstreamtest.Fault{Path: row.path, Hang: true})
				spans := new(coretest.Spans)
				var both sync.WaitGroup
				for i := range 2 {
					both.Go(func() {
						ctx := core.WithAccess(spans.Context(context.Background()), core.Access{Fetch: true})
						ctx, span := core.Begin(ctx, fmt.Sprintf("client%d", i))
						if err := row.get(ctx, f); err != nil {
							t.Error(err)
						}
						span.End(nil)
					})
					synctest.Wait()
				}
				hangs.Lift()
				both.Wait()
				f.stop()
				got := spans.Ended()
				flight := "request > client0 > " + row.want
				flights := 0
				for _, line := range got {
					if strings.HasPrefix(line, flight) && !strings.Contains(line[len(flight):], " > ") {
						flights++
					}
				}
				if flights != 1 || !slices.Contains(got, "request > client0") ||
					!slices.Contains(got, "request > client1 (links "+flight+")") {
					t.Errorf("got\n%s\nwant one %s below client0, and client1 that links to it", strings.Join(got, "\n"), row.want)
				}
			})
		})
	}
}
