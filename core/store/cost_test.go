package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// pushAs pushes an image of four blobs, as a client does it.
func pushAs(t testing.TB, ctx context.Context, s core.Registry, name string, tags ...string) digest.Digest {
	t.Helper()
	var blobs []core.Descriptor
	for i := range 4 {
		content := fmt.Appendf(nil, "blob %d of %s", i, name)
		u, err := s.NewUpload(ctx, "team/app", digest.SHA256)
		must(t, err)
		_, err = u.Append(ctx, 0, bytes.NewReader(content))
		must(t, err)
		desc, err := u.Commit(context.Background(), digest.FromBytes(content)) // the upload knows who it is for
		must(t, err, u.Close())
		blobs = append(blobs, desc)
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: blobs[0], Layers: blobs[1:]}
	m.SchemaVersion = 2
	data := marshal(t, m)
	result, err := s.PutManifest(ctx, "team/app", core.ManifestPut{MediaType: m.MediaType, Bytes: data, Tags: tags})
	must(t, err)
	return result.Descriptor.Digest
}

// That records say who pushed costs no file: all the links of a push are one file, as
// they were when they were empty. A tag that moves writes one file more.
func TestAPushBySomebodyNeedsAsManySyncs(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{})
	count := func(who, name string, tags ...string) (data, dirs uint64) {
		t.Helper()
		before := r.storage.Stats()
		ctx := t.Context()
		if who != "" {
			ctx = as(t, who)
		}
		pushAs(t, ctx, r, name, tags...)
		after := r.storage.Stats()
		return after.DataSyncs - before.DataSyncs, after.DirSyncs - before.DirSyncs
	}
	count("", "first", "first")
	count("ada", "second", "second")
	for n, who := range []string{"", "ada", "", "ada", "erich"} {
		// Four blobs, the manifest, the tag, and the file that links are names of; of an
		// upload that is committed only the bytes are synced.
		if data, dirs := count(who, fmt.Sprint("image ", n), fmt.Sprint("v", n)); data < 6 || data > 8 || dirs > 14 {
			t.Errorf("a push by %q needed %d syncs of data and %d of directories, want 6 to 8, and 14 at most", who, data, dirs)
		}
	}
	if data, dirs := count("ada", "moved", "v1"); data < 7 || data > 9 || dirs > 15 {
		t.Errorf("a push that moves a tag needed %d syncs of data and %d of directories, want 7 to 9, and 15 at most", data, dirs)
	}
}

// BenchmarkPushAs measures a push of an image of four small blobs by a caller with a
// name.
func BenchmarkPushAs(b *testing.B) {
	for _, who := range []string{"", "ada"} {
		for _, how := range []string{"new tag", "moved tag"} {
			b.Run(fmt.Sprintf("%q, %s", who, how), func(b *testing.B) {
				x, err := index.ForStore("", slog.New(slog.DiscardHandler))
				must(b, err)
				r := open(b, b.TempDir(), store.Config{Names: x, Projection: x})
				ctx := core.WithAccess(b.Context(), core.Access{Known: who != "", Caller: who})
				for n := 0; b.Loop(); n++ {
					tag := "latest"
					if how == "new tag" {
						tag = fmt.Sprint("v", n)
					}
					pushAs(b, ctx, r, fmt.Sprint("image ", n), tag)
				}
			})
		}
	}
}
