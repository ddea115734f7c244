package mirror_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// incompressible is a layer that is as large when it is gzipped.
func incompressible() []byte {
	data := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// A storage says of its answers that they are gzipped. Whether that is right the digest
// decides, and however the upstream breaks off and whatever part is asked for, what comes
// is the blob.
func TestBlobWithAContentCoding(t *testing.T) {
	packed := gzipped(incompressible())
	for _, row := range []struct {
		name       string
		blob, sent []byte
		coding     string
	}{
		{"of a gzipped layer, wrongly", packed, packed, "gzip"},
		{"of a gzipped layer, rightly", packed, gzipped(packed), "gzip"},
		{"of a layer that is gzipped twice, wrongly", gzipped(packed), gzipped(packed), "gzip"},
		{"of a plain layer, rightly", incompressible(), packed, "gzip"},
		{"of a plain layer that becomes very small, rightly", layer, gzipped(layer), "gzip"},
		{"of a plain layer, wrongly", layer, layer, "gzip"},
		{"of a layer of one byte, wrongly", []byte("x"), []byte("x"), "gzip"},
		{"of a layer with another coding, wrongly", packed, packed, "zstd"},
		{"of a layer that was stored in chunks, wrongly", packed, packed, "gzip, aws-chunked"},
		{"of an empty layer, wrongly", nil, nil, "gzip"},
		{"of an empty layer, rightly", nil, gzipped(nil), "gzip"},
	} {
		for _, how := range []struct {
			name   string
			faults []upstreamtest.Fault // the header is added to each of them
			rest   upstreamtest.Fault   // is what all answers after these are like
		}{
			{"in one piece", nil, upstreamtest.Fault{}},
			{"without a length", nil, upstreamtest.Fault{NoLength: true}},
			{"without ranges", nil, upstreamtest.Fault{NoRange: true}},
			{"cut off at first", []upstreamtest.Fault{{CutOff: true, After: 600, Times: 1}}, upstreamtest.Fault{}},
			{"cut off later", []upstreamtest.Fault{{Times: 1}, {CutOff: true, After: 600, Times: 1}}, upstreamtest.Fault{}},
			{"cut off later, without a length", []upstreamtest.Fault{{NoLength: true, Times: 1}, {CutOff: true, NoLength: true, After: 600, Times: 2}}, upstreamtest.Fault{NoLength: true}},
			{"cut off later, without ranges", []upstreamtest.Fault{{Times: 1}, {CutOff: true, NoRange: true, After: 600, Times: 1}}, upstreamtest.Fault{NoRange: true}},
		} {
			t.Run(row.name+", "+how.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := start(t, mirror.Settings{})
					d := digest.FromBytes(row.blob)
					f.up.BlobAs("library/nginx", d, row.sent)
					coded := http.Header{"Content-Encoding": {row.coding}}
					for _, fault := range append(how.faults, how.rest) {
						fault.Path, fault.Header = "/blobs/", coded
						f.up.Fault(fault)
					}
					b, err := f.Blob(fetch, repo, d)
					if err != nil {
						t.Fatal(err)
					}
					defer b.Close()
					if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, row.blob) {
						t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(row.blob))
					}
					if size := b.Descriptor().Size; size != int64(len(row.blob)) {
						t.Errorf("got size %d, want %d", size, len(row.blob))
					}
				})
			})
		}
		// A part is asked for while nothing is held, and the disk takes nothing.
		for _, room := range []bool{true, false} {
			t.Run(row.name+", a part", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := start(t, mirror.Settings{})
					f.keeper = &keeper{room: func(int64) bool { return room }}
					f.restart(t)
					d := digest.FromBytes(row.blob)
					f.up.BlobAs("library/nginx", d, row.sent)
					f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: http.Header{"Content-Encoding": {row.coding}}})
					b, err := f.Blob(fetch, repo, d)
					if err != nil {
						t.Fatal(err)
					}
					defer b.Close()
					from := int64(len(row.blob)) / 2
					seeker, ok := b.(io.Seeker)
					if !ok {
						t.Fatal("no part of it can be asked for")
					}
					if _, err := seeker.Seek(from, io.SeekStart); err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, row.blob[from:]) {
						t.Errorf("got %d bytes, %v, want %d", len(got), err, int64(len(row.blob))-from)
					}
				})
			})
		}
	}
}

// Where neither has the digest no byte is passed on, and the upstream is asked twice and no more.
func TestBlobWithAContentCodingThatIsWrongAnyway(t *testing.T) {
	packed := gzipped(incompressible())
	for _, row := range []struct {
		name string
		sent []byte
	}{
		{"gzip of something else", packed},
		{"something else", []byte("something else")},
		{"gzip that is cut", packed[:len(packed)-1]},
		{"nothing", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				f.up.BlobAs("library/nginx", f.blob, row.sent)
				f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: http.Header{"Content-Encoding": {"gzip"}}})
				if got, err := read(f, fetch, repo, f.blob); !errors.Is(err, core.ErrUpstream) || len(got) > 0 {
					t.Errorf("got %d bytes, %v, want none, and %v", len(got), err, core.ErrUpstream)
				}
				if asked := len(f.up.Requests()); asked != 2 {
					t.Errorf("the upstream saw %d requests, want 2", asked)
				}
				// It is not remembered against an upstream that does it right again.
				f.up.BlobAs("library/nginx", f.blob, gzipped(layer))
				if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(layer))
				}
			})
		})
	}
}

// If a manifest has the size of the blob, a blob that is sent unchanged is served at once. A
// manifest with a wrong size costs one try: it is not trusted again, nor for another blob.
func TestBlobWithAContentCodingWhoseSizeIsKnown(t *testing.T) {
	small := gzipped(layer)
	for _, row := range []struct {
		name  string
		size  int // as the manifest says
		sent  []byte
		first error
		asked int // by the reads that go well
	}{
		{"as it is", len(layer), layer, nil, 1},
		{"as it is, of another size than the manifest says", len(layer) - 1, layer, nil, 2},
		{"compressed", len(layer), small, nil, 2},
		{"compressed to the size that the manifest says", len(small), small, core.ErrUpstream, 2},
	} {
		for _, room := range []bool{true, false} {
			t.Run(row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := start(t, mirror.Settings{})
					f.keeper = &keeper{room: func(int64) bool { return room }}
					f.restart(t)
					f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, document(row.size), "latest")
					f.up.BlobAs("library/nginx", f.blob, row.sent)
					f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: http.Header{"Content-Encoding": {"gzip"}}})
					if _, err := f.Manifest(fetch, repo, latest); err != nil {
						t.Fatal(err)
					}
					if row.first != nil {
						if got, err := read(f, fetch, repo, f.blob); !errors.Is(err, row.first) {
							t.Errorf("at first: got %d bytes, %v, want %v", len(got), err, row.first)
						}
					}
					f.up.Forget()
					if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
						t.Errorf("got %d bytes, %v, want %d", len(got), err, len(layer))
					}
					if asked := len(f.up.Requests()); asked != row.asked {
						t.Errorf("the upstream saw %d requests, want %d", asked, row.asked)
					}
				})
			})
		}
	}
}

// A finding about one node is not applied to another.
func TestBlobThatOneNodeCompresses(t *testing.T) {
	packed := gzipped(incompressible())
	coded := http.Header{"Content-Encoding": {"gzip"}}
	for _, row := range []struct {
		name          string
		first, second []byte
		header        http.Header // of the second
	}{
		{"and another does not", gzipped(packed), packed, nil},
		{"and another says so wrongly", gzipped(packed), packed, coded},
		{"after another that said so wrongly", packed, gzipped(packed), coded},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				d := digest.FromBytes(packed)
				f.up.BlobAs("library/nginx", d, row.first)
				f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: coded, Times: 1})
				stalled := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: coded, Stall: true, After: 90_000, Times: 1})
				f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Header: row.header})
				b, err := f.Blob(fetch, repo, d)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				synctest.Wait()
				f.up.BlobAs("library/nginx", d, row.second)
				defer stalled.Lift()
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, packed) {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(packed))
				}
			})
		})
	}
}

// The same for manifests, of which no bytes are gzip.
func TestManifestWithAContentCoding(t *testing.T) {
	image := document(len(layer))
	d := digest.FromBytes(image)
	for _, row := range []struct {
		name   string
		sent   []byte
		coding string
		err    error
	}{
		{"rightly", gzipped(image), "gzip", nil},
		{"wrongly", image, "gzip", nil},
		{"with another, wrongly", image, "br", nil},
		{"twice", gzipped(gzipped(image)), "gzip", core.ErrUpstream},
		{"of another", gzipped(document(1)), "gzip", core.ErrUpstream},
		{"of another, wrongly", document(1), "gzip", core.ErrUpstream},
	} {
		for _, ref := range []core.Reference{latest, {Digest: d}} {
			for _, noDigest := range []bool{false, true} {
				if noDigest && ref.Digest == "" && row.err != nil {
					continue // nobody says what it should be
				}
				t.Run(row.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := start(t, mirror.Settings{})
						f.up.ManifestAs("library/nginx", d, ocispec.MediaTypeImageManifest, row.sent, "latest")
						f.up.Fault(upstreamtest.Fault{Path: "/manifests/", NoDigest: noDigest, Header: http.Header{"Content-Encoding": {row.coding}}})
						got, err := f.Manifest(fetch, repo, ref)
						if !errors.Is(err, row.err) || err == nil && !bytes.Equal(got.Bytes, image) {
							t.Errorf("got %q, %v, want %v", got.Bytes, err, row.err)
						}
					})
				})
			}
		}
	}
}
