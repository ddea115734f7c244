package mirror_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A manifest that is wrong about the size of a layer breaks neither its own image nor
// another that shares the layer: the upstream knows how long it is, and its digest is
// what counts.
func TestAWrongSizeInAManifestBreaksNothing(t *testing.T) {
	size := len(layer)
	for _, answer := range []struct {
		name  string
		fault upstreamtest.Fault
	}{
		{"with its length", upstreamtest.Fault{Path: "nothing"}},
		{"without a length", upstreamtest.Fault{Path: "/blobs/", NoLength: true}},
		{"without a length or ranges", upstreamtest.Fault{Path: "/blobs/", NoLength: true, NoRange: true}},
		{"cut off in the middle", upstreamtest.Fault{Path: "/blobs/", Method: "GET", CutOff: true, After: 300_000, Times: 1}},
	} {
		for _, wrong := range []int{0, 1, size - 1, size + 1, 2 * size, 1 << 40} {
			for _, order := range [][]string{{"bad"}, {"latest", "bad"}, {"bad", "latest"}, {"latest", "bad", "latest"}} {
				t.Run(fmt.Sprintf("%s, %d bytes, %q", answer.name, wrong, order), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := start(t, mirror.Settings{})
						f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(wrong), "bad")
						for _, tag := range order {
							if _, err := f.Manifest(fetch, repo, core.Reference{Tag: tag}); err != nil {
								t.Fatal(err)
							}
						}
						if len(order) > 1 {
							if got, err := f.Stat(fetch, repo, f.blob); err != nil || got.Size != int64(size) {
								t.Errorf("HEAD before it is held: %d bytes, %v, want %d", got.Size, err, size)
							}
						}
						f.up.Fault(answer.fault)
						for _, when := range []string{"cold", "held"} {
							b, err := f.Blob(fetch, repo, f.blob)
							if err != nil {
								t.Fatalf("%s: %v", when, err)
							}
							if said := b.Descriptor().Size; said != int64(size) && said != -1 {
								t.Errorf("%s: it says that it has %d bytes", when, said)
							}
							b.Close()
							if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
								t.Errorf("%s: got %d bytes, %v", when, len(got), err)
							}
						}
						if got, err := f.Stat(fetch, repo, f.blob); err != nil || got.Size != int64(size) {
							t.Errorf("HEAD: %d bytes, %v, want %d", got.Size, err, size)
						}
					})
				})
			}
		}
	}
}

// HEAD of a blob that is not held believes the manifests that are held, if they agree,
// whichever of them this process has read, and nobody that is not held any more.
func TestHeadBelievesManifestsThatAreHeldAndAgree(t *testing.T) {
	bad := document(len(layer) + 1)
	for _, row := range []struct {
		name  string
		pull  []string
		after func(*fixture) error
		asked bool
	}{
		{"one", []string{"latest"}, nil, false},
		{"two that agree", []string{"latest", "same"}, nil, false},
		{"two that do not agree", []string{"latest", "bad"}, nil, true},
		{"one that was purged", []string{"latest"}, func(f *fixture) error {
			_, err := f.Purge(fetch, repo, core.Reference{Digest: f.image})
			return err
		}, true},
		{"one that was evicted", []string{"latest"}, func(f *fixture) error {
			_, err := f.local.Evict(fetch, repo, f.image)
			return err
		}, true},
		{"a right one, when the wrong one was purged", []string{"latest", "bad"}, func(f *fixture) error {
			_, err := f.Purge(fetch, repo, core.Reference{Digest: digest.FromBytes(bad)})
			return err
		}, false},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after a restart %t", row.name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := start(t, mirror.Settings{})
					f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, append(document(len(layer)), ' '), "same")
					f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, bad, "bad")
					for _, tag := range row.pull {
						if _, err := f.Manifest(fetch, repo, core.Reference{Tag: tag}); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
					if restart {
						f.restart(t)
						// This process reads the last of them alone.
						last := core.Reference{Tag: row.pull[len(row.pull)-1]}
						if _, err := f.Manifest(fetch, repo, last); err != nil {
							t.Fatal(err)
						}
					}
					if row.after != nil {
						if err := row.after(f); err != nil {
							t.Fatal(err)
						}
					}
					if row.after != nil && !row.asked {
						if _, err := f.Manifest(fetch, repo, latest); err != nil {
							t.Fatal(err)
						}
					}
					f.up.Forget()
					got, err := f.Stat(fetch, repo, f.blob)
					if err != nil || got.Size != int64(len(layer)) {
						t.Errorf("got %d bytes, %v, want %d", got.Size, err, len(layer))
					}
					if requests := f.up.Requests(); (len(requests) > 0) != row.asked {
						t.Errorf("the upstream saw %q, want a question: %t", requests, row.asked)
					}
				})
			})
		}
	}
}

// A manifest whose sizes cannot be trusted to be read at all says none.
func TestSizesOfAnUnclearManifestAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		doc := bytes.Replace(document(len(layer)), fmt.Appendf(nil, `"size":%d`, len(layer)), []byte(`"size":"many"`), 1)
		d := f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, doc, "unclear")
		if _, err := f.Manifest(fetch, repo, core.Reference{Digest: d}); err != nil && !errors.Is(err, core.ErrManifestInvalid) && !errors.Is(err, core.ErrUpstream) {
			t.Fatal(err)
		}
		if got, err := f.Stat(fetch, repo, f.blob); err != nil || got.Size != int64(len(layer)) {
			t.Errorf("HEAD: %d bytes, %v", got.Size, err)
		}
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
}
