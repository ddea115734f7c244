package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func (f *fixture) getBlob() string  { return "registry GET /v2/library/nginx/blobs/" + string(f.blob) }
func (f *fixture) headBlob() string { return "registry HEAD /v2/library/nginx/blobs/" + string(f.blob) }

// A body is whole and right, or it ends in an error without its last byte.
func TestABodyThatBreaksIsResumedAndNeverEndsCleanly(t *testing.T) {
	const at = 300000
	rest := " bytes=300000-"
	for _, row := range []struct {
		name   string
		fault  upstreamtest.Fault
		listed bool // a manifest has said the size
		want   error
		resume []string
		took   time.Duration
	}{
		{"cut off", upstreamtest.Fault{CutOff: true, After: at, Times: 1}, false, nil, []string{rest}, 0},
		{"stalled", upstreamtest.Fault{Stall: true, After: at, Times: 1}, false, nil, []string{rest}, upstream.DefaultStallTimeout},
		{"ended short of what the manifest says", upstreamtest.Fault{Short: true, After: at, Times: 1}, true, nil, []string{rest}, 0},
		{"ended short without any size", upstreamtest.Fault{Short: true, After: at, Times: 1}, false, core.ErrUpstream, nil, 0},
		{"without a length, its size from the manifest", upstreamtest.Fault{NoLength: true}, true, nil, nil, 0},
		{"without any size", upstreamtest.Fault{NoLength: true}, false, nil, nil, 0},
		{"changed", upstreamtest.Fault{Corrupt: true}, false, core.ErrUpstream, nil, 0},
		{"changed, without any size", upstreamtest.Fault{Corrupt: true, NoLength: true}, false, core.ErrUpstream, nil, 0},
		{"cut off by an upstream that knows no ranges", upstreamtest.Fault{CutOff: true, After: at, NoRange: true, Times: 1}, false, nil, []string{rest}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if row.listed {
					if _, err := f.Manifest(fetch, repo, latest); err != nil {
						t.Fatal(err)
					}
				}
				f.up.Forget()
				row.fault.Path = "/blobs/"
				f.up.Fault(row.fault)
				began := time.Now()
				got, err := read(f, fetch, repo, f.blob)
				if !errors.Is(err, row.want) || err == nil && !bytes.Equal(got, layer) || err != nil && len(got) >= len(layer) {
					t.Errorf("got %d bytes, %v, want %v", len(got), err, row.want)
				}
				if took := time.Since(began); took != row.took {
					t.Errorf("it took %s, want %s", took, row.took)
				}
				want := []string{f.getBlob()}
				for _, r := range row.resume {
					want = append(want, f.getBlob()+r)
				}
				f.saw(t, want...)
			})
		})
	}
}

func TestABlobThatCannotBeHad(t *testing.T) {
	for _, row := range []struct {
		fault upstreamtest.Fault
		want  error
		again int // requests of the next reader
	}{
		{upstreamtest.Fault{Status: 404}, core.ErrBlobUnknown, 0},
		{upstreamtest.Fault{Status: 403}, core.ErrDenied, 1},
		{upstreamtest.Fault{Status: 429}, core.ErrTooManyRequests, 0},
		{upstreamtest.Fault{Status: 503}, core.ErrUpstream, 0},
		{upstreamtest.Fault{Hang: true}, core.ErrUpstreamTimeout, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{})
			f.up.Fault(row.fault)
			for _, requests := range []int{1, row.again} {
				if _, err := f.Blob(fetch, repo, f.blob); !errors.Is(err, row.want) {
					t.Errorf("%+v: got %v, want %v", row.fault, err, row.want)
				}
				if got := f.up.Requests(); len(got) != requests {
					t.Errorf("%+v: the upstream saw %q, want %d", row.fault, got, requests)
				}
				f.up.Forget()
			}
		})
	}
}

// The first bytes are given on when they are here, though the upstream has not sent
// the rest, and a Range behind them waits for its own.
func TestReadersFollowTheGrowingFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 10})
		began := time.Now()
		b, err := f.Blob(fetch, repo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if n, err := b.Read(make([]byte, 100)); n != 10 || err != nil || time.Since(began) != 0 {
			t.Errorf("got %d bytes, %v after %s, want 10 at once", n, err, time.Since(began))
		}
		ranged, err := f.Blob(fetch, repo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		defer ranged.Close()
		if at, err := ranged.(io.Seeker).Seek(-4, io.SeekEnd); at != int64(len(layer)-4) || err != nil {
			t.Fatal(at, err)
		}
		time.AfterFunc(time.Second, x.Lift)
		if got, err := io.ReadAll(ranged); string(got) != "cdef" || err != nil || time.Since(began) != time.Second {
			t.Errorf("got %q, %v after %s, want the end after 1s", got, err, time.Since(began))
		}
		if rest, err := io.ReadAll(b); len(rest) != len(layer)-10 || err != nil {
			t.Errorf("got %d bytes more, %v", len(rest), err)
		}
		f.saw(t, f.getBlob())
	})
}

func TestASlowReaderSlowsNobodyAndOneThatLeavesStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 1000})
		var slow []core.Blob
		for range 2 {
			b, err := f.Blob(fetch, repo, f.blob)
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, b)
		}
		gone, cancel := context.WithCancel(fetch)
		b, err := f.Blob(gone, repo, f.blob)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, cancel)
		if got, err := io.ReadAll(b); !errors.Is(err, context.Canceled) || len(got) != 1000 {
			t.Errorf("who leaves got %d bytes, %v", len(got), err)
		}
		b.Close()
		x.Lift()
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("the fast one got %d bytes, %v", len(got), err)
		}
		slow[0].Close()
		if got, err := io.ReadAll(slow[1]); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("the slow one got %d bytes, %v", len(got), err)
		}
		slow[1].Close()
		f.saw(t, f.getBlob())
	})
}

// Up to eight downloads without readers continue. The ninth stops the one that lost its readers
// first, which the next reader resumes.
func TestDownloadsThatNobodyReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 1000})
		var blobs []digest.Digest
		for i := range 9 {
			d := f.up.Blob("library/nginx", append(bytes.Clone(layer), byte(i)))
			blobs = append(blobs, d)
			b, err := f.Blob(fetch, repo, d)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			b.Close()
		}
		synctest.Wait()
		x.Lift()
		synctest.Wait()
		for i, d := range blobs {
			f.up.Forget()
			got, err := read(f, fetch, repo, d)
			if err != nil || len(got) != len(layer)+1 || got[len(layer)] != byte(i) {
				t.Errorf("%d: got %d bytes, %v", i, len(got), err)
			}
			var want []string
			if i == 0 {
				want = []string{"registry GET /v2/library/nginx/blobs/" + string(d) + " bytes=1000-"}
			}
			if saw := f.up.Requests(); !slices.Equal(saw, want) {
				t.Errorf("%d: the upstream saw %q, want %q", i, saw, want)
			}
		}
	})
}

// A chained cache asks HEAD before it has anything.
func TestAHeadOfABlobThatIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		want := core.Descriptor{MediaType: "application/octet-stream", Digest: f.blob, Size: int64(len(layer))}
		stat := func(saw ...string) {
			t.Helper()
			if got, err := f.Stat(fetch, repo, f.blob); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, %v", got, err)
			}
			f.saw(t, saw...)
		}
		stat(f.headBlob())
		x := f.up.Fault(upstreamtest.Fault{Method: "HEAD", Path: "/blobs/", Status: 405})
		stat(f.headBlob(), f.getBlob()+" bytes=0-0")
		x.Lift()
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.up.Forget()
		stat() // the manifest lists it
	})
}

// Two repositories that share a layer: the second is linked once the upstream confirms that it
// has the layer. All waiting callers share exactly one request.
func TestASharedLayerIsLinkedAfterAttestation(t *testing.T) {
	for _, row := range []struct {
		name   string
		during bool // while the first is on its way
		noHead bool
		has    bool
		saw    []string
		want   error
	}{
		{"held", false, false, true, []string{"HEAD"}, nil},
		{"held, where HEAD is not allowed", false, true, true, []string{"HEAD", "GET bytes=0-0"}, nil},
		{"held, of a repository that lacks it", false, false, false, []string{"HEAD", "GET bytes=0-0"}, core.ErrBlobUnknown},
		{"on its way", true, false, true, []string{"HEAD"}, nil},
		{"on its way, of a repository that lacks it", true, false, false, []string{"HEAD", "GET bytes=0-0"}, core.ErrBlobUnknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				if row.has {
					f.up.Blob("library/httpd", layer)
				}
				x := f.up.Fault(upstreamtest.Fault{Path: "/library/nginx/blobs/", Stall: true, After: 1000})
				if !row.during {
					x.Lift()
				}
				b, err := f.Blob(fetch, repo, f.blob)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if !row.during {
					if _, err := io.ReadAll(b); err != nil {
						t.Fatal(err)
					}
				}
				if row.noHead {
					f.up.Fault(upstreamtest.Fault{Method: "HEAD", Status: 405})
				}
				f.up.Forget()
				time.AfterFunc(time.Second, x.Lift)
				var readers sync.WaitGroup
				for range 5 {
					readers.Go(func() {
						got, err := read(f, fetch, other, f.blob)
						if !errors.Is(err, row.want) || err == nil && !bytes.Equal(got, layer) {
							t.Errorf("got %d bytes, %v, want %v", len(got), err, row.want)
						}
					})
				}
				readers.Wait()
				var want []string
				for _, s := range row.saw {
					method, rest, _ := strings.Cut(s, " ")
					want = append(want, strings.TrimSpace("registry "+method+" /v2/library/httpd/blobs/"+string(f.blob)+" "+rest))
				}
				f.saw(t, want...)
				if got, err := list(f.Holders(fetch, f.blob)); err != nil || slices.Contains(got, other) != (row.want == nil) {
					t.Errorf("holders are %q, %v", got, err)
				}
			})
		})
	}
}

// A signed URL to which a blob was redirected is short-lived: a resumed download asks the
// registry again.
func TestAResumedBlobIsRedirectedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAs(t, upstreamtest.Config{Kind: upstreamtest.Hub}, mirror.Settings{})
		f.up.Fault(upstreamtest.Fault{Host: "storage", CutOff: true, After: 5000, Times: 1})
		if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		var asked []string
		for _, r := range f.up.Requests() {
			host, _, _ := strings.Cut(r, " ")
			asked = append(asked, host)
		}
		if want := []string{"registry", "token", "registry", "storage", "registry", "storage"}; !slices.Equal(asked, want) {
			t.Errorf("asked were %q, want %q", asked, want)
		}
	})
}
