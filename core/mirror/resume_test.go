package mirror_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// After a blob has broken off the upstream says something else than the rest.
func TestABlobThatCannotBeResumed(t *testing.T) {
	const at = 300000
	for _, row := range []struct {
		name string
		then upstreamtest.Fault
		want error
		asks int // for the rest
	}{
		// A no is not asked for again.
		{"because it is gone", upstreamtest.Fault{Status: 404}, core.ErrBlobUnknown, 1},
		{"because it is denied", upstreamtest.Fault{Status: 403}, core.ErrDenied, 1},
		// Nobody waits for longer than a client does.
		{"because the upstream will be back late", upstreamtest.Fault{Status: 503, Header: http.Header{"Retry-After": {"300"}}}, core.ErrUpstream, 1},
		// One after the other that brings no byte, with pauses: not for ever.
		{"because the upstream stays broken", upstreamtest.Fault{Status: 500}, core.ErrUpstream, 2}, // and left alone between
		{"because every connection is cut off at once", upstreamtest.Fault{CutOff: true}, core.ErrUpstream, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.Fault(upstreamtest.Fault{Path: "/blobs/", CutOff: true, After: at, Times: 1})
				row.then.Path = "/blobs/"
				f.up.Fault(row.then)
				began := time.Now()
				got, err := read(f, fetch, repo, f.blob)
				if !errors.Is(err, row.want) || !bytes.Equal(got, layer[:min(len(got), at)]) {
					t.Errorf("got %d bytes, %v, want %v", len(got), err, row.want)
				}
				if took := time.Since(began); took > 5*time.Minute {
					t.Errorf("it took %s", took)
				}
				if asked := len(f.up.Requests()) - 1; asked != row.asks {
					t.Errorf("the rest was asked for %d times, want %d", asked, row.asks)
				}
			})
		})
	}
}

// An upstream that breaks off again and again brings the whole all the same, as long as
// each connection brings something.
func TestABlobInManyPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		const piece = 100000
		f.up.Fault(upstreamtest.Fault{Path: "/blobs/", CutOff: true, After: piece, Times: len(layer) / piece})
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if got, want := len(f.up.Requests()), len(layer)/piece+1; got != want {
			t.Errorf("the upstream saw %d requests, want %d", got, want)
		}
	})
}

// However the pieces come, also after an interruption, the file is written in blocks
// that end where its large folios do, and what an interrupted download got is kept.
func TestTheFileGrowsByWholeBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		f.up.Fault(upstreamtest.Fault{Path: "/blobs/", CutOff: true, After: 100000, Times: 4})
		x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 50000})
		b, err := f.Blob(fetch, repo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, 450000)); err != nil {
			t.Fatal(err)
		}
		f.stop()
		b.Close()
		x.Lift()
		ends := f.full.ends
		f.open(t, f.settings)
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		ends = append(ends, f.full.ends...)
		if want := []int64{256 << 10, 450000, 512 << 10, 768 << 10, 1 << 20}; !slices.Equal(slices.Compact(ends), want) {
			t.Errorf("appends ended at %d, want %d", ends, want)
		}
	})
}

// The blob's size in a manifest is only a claim: the upstream, or else the digest,
// decides.
func TestABlobOfAnotherSizeThanItsManifestSays(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault upstreamtest.Fault
	}{
		{"as the upstream says too", upstreamtest.Fault{Path: "nothing"}},
		{"as only the body shows", upstreamtest.Fault{Path: "/blobs/", NoLength: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(len(layer)-10), "latest")
				f.up.Fault(row.fault)
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			})
		})
	}
}

// A body that goes on is not waited for, and fills no disk.
func TestABlobThatGoesOnIsEndedAtItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.BlobAs("library/nginx", f.blob, append(bytes.Clone(layer), layer...))
		f.up.Fault(upstreamtest.Fault{Path: "/blobs/", NoLength: true, Stall: true, After: int64(len(layer)) + 10000})
		began := time.Now()
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s, want no waiting for more", took)
		}
	})
}

// One that is wrong, and goes on, is ended some way behind what its manifest says.
func TestABlobThatNeverEndsIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.BlobAs("library/nginx", f.blob, bytes.Repeat([]byte("rubbish!"), 80<<20/8))
		f.up.Fault(upstreamtest.Fault{Path: "/blobs/", NoLength: true})
		if got, err := read(f, fetch, repo, f.blob); !errors.Is(err, core.ErrUpstream) || len(got) > len(layer)+65<<20 {
			t.Errorf("got %d bytes, %v, want an error", len(got), err)
		}
	})
}

// Content that is not stored is verified like content that is.
func TestWithoutRoomABodyIsVerifiedToo(t *testing.T) {
	for _, fault := range []upstreamtest.Fault{{Corrupt: true}, {Corrupt: true, NoLength: true}} {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{})
			f.keeper = &keeper{room: func(int64) bool { return false }}
			f.restart(t)
			fault.Path = "/blobs/"
			f.up.Fault(fault)
			if got, err := read(f, fetch, repo, f.blob); !errors.Is(err, core.ErrUpstream) || len(got) >= len(layer) {
				t.Errorf("got %d bytes, %v, want an error before the end", len(got), err)
			}
		})
	}
}

// An interrupted download of an upstream that sent something else may have left more bytes than
// the blob has. It is not kept for the next caller.
func TestRubbishOfAnInterruptedDownloadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		f.up.BlobAs("library/nginx", f.blob, bytes.Repeat([]byte("rubbish"), len(layer)))
		stalled := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", NoLength: true, Stall: true, After: int64(len(layer)) + 10000})
		b, err := f.Blob(fetch, repo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, len(layer)+5000)); err != nil {
			t.Fatal(err)
		}
		f.stop()
		b.Close()
		stalled.Lift()
		f.up.BlobAs("library/nginx", f.blob, layer)
		f.open(t, f.settings)
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
}

// Room is looked at while a blob grows, too, and what was kept of one that is given up
// is not left behind.
func TestADownloadIsGivenUpInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		asked := 0
		f.keeper = &keeper{room: func(int64) bool { asked++; return asked < 4 }}
		f.restart(t)
		large := bytes.Repeat(layer, 16)
		d := f.up.Blob("library/nginx", large)
		if got, err := read(f, fetch, repo, d); err != nil || !bytes.Equal(got, large) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if asked != 4 {
			t.Errorf("room was looked at %d times, want twice at the start and twice in the middle", asked)
		}
		synctest.Wait()
		for info, err := range f.full.List(t.Context(), "mirror/downloads/", "") {
			t.Errorf("%s, %v is left of a download that was given up", info.Key, err)
		}
	})
}
