package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/core/wire"
)

// slow serves a mirror over HTTP. Each request ends when the test does, at the latest.
func slow(t *testing.T, up *upstreamtest.Upstream) (get func(path string, header http.Header) *http.Response) {
	t.Helper()
	m := node(t, up, nil, "", nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := wire.Parse(r.Method, r.URL)
		if err != nil {
			wire.Fail(w, r, req, err, wire.Options{})
			return
		}
		wire.Serve(w, r.WithContext(core.WithAccess(r.Context(), core.Access{Fetch: true})), req, m, wire.Options{})
	}))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a header that never comes is a failure, not a hang
	t.Cleanup(cancel)
	return func(path string, header http.Header) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v2/"+repo+"/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
}

// The header of a cold blob is here when the upstream's is, though no byte has come; also
// that of a Range far ahead of what has come.
func TestTheHeaderOfAColdBlobDoesNotWaitForItsBytes(t *testing.T) {
	size := len(layer)
	for _, after := range []int64{0, 1, 1000} {
		for _, row := range []struct {
			name, field   string
			status, first int
			length        int
		}{
			{"whole", "", http.StatusOK, 0, size},
			{"a range at the start", "bytes=0-9", http.StatusPartialContent, 0, 10},
			{"a range ahead", "bytes=500000-500099", http.StatusPartialContent, 500_000, 100},
			{"the end", "bytes=-100", http.StatusPartialContent, size - 100, 100},
			{"from far ahead to the end", "bytes=1000000-", http.StatusPartialContent, 1_000_000, size - 1_000_000},
		} {
			t.Run(fmt.Sprintf("%s, %d bytes are here", row.name, after), func(t *testing.T) {
				up := upstreamtest.New(t, upstreamtest.Config{})
				d := up.Blob("library/nginx", layer)
				held := up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: after})
				get := slow(t, up)
				header := http.Header{}
				if row.field != "" {
					header.Set("Range", row.field)
				}
				resp := get("blobs/"+string(d), header) // it returns with the header
				if resp.StatusCode != row.status || resp.Header.Get("Content-Length") != strconv.Itoa(row.length) {
					t.Errorf("got %d with %v", resp.StatusCode, resp.Header)
				}
				held.Lift()
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != string(layer[row.first:row.first+row.length]) {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, row.length)
				}
			})
		}
	}
}

// A blob is not opened, and so no header is sent, before the upstream has answered: what
// it refuses is not a 200 that breaks.
func TestThereIsNoHeaderBeforeTheUpstreams(t *testing.T) {
	for _, row := range []struct {
		status int
		want   error
	}{{404, core.ErrBlobUnknown}, {429, core.ErrTooManyRequests}, {500, core.ErrUpstream}, {403, core.ErrDenied}} {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, mirror.Settings{})
			held := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Hang: true, Status: row.status})
			opened := make(chan error, 1)
			go func() {
				_, err := f.Blob(fetch, repo, f.blob)
				opened <- err
			}()
			synctest.Wait()
			if len(opened) > 0 {
				t.Fatalf("it was opened before the upstream has answered: %v", <-opened)
			}
			held.Lift()
			if err := <-opened; !errors.Is(err, row.want) {
				t.Errorf("upstream %d: got %v, want %v", row.status, err, row.want)
			}
		})
	}
}

// A blob of which the upstream says that it is empty is an error before the header, as
// there is no byte that could be withheld until the digest is right. The one blob that is
// empty is served.
func TestABlobThatTheUpstreamSaysIsEmpty(t *testing.T) {
	nothing := digest.FromBytes(nil)
	for _, row := range []struct {
		name, field string
		d           digest.Digest
		want        int
	}{
		{"another blob", "", digest.FromString("layer"), http.StatusBadGateway},
		{"a part of another blob", "bytes=5-9", digest.FromString("layer"), http.StatusBadGateway},
		{"the empty blob", "", nothing, http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			up := upstreamtest.New(t, upstreamtest.Config{})
			up.Fault(upstreamtest.Fault{Path: "/blobs/", Status: http.StatusOK, Header: http.Header{"Content-Length": {"0"}}})
			header := http.Header{}
			if row.field != "" {
				header.Set("Range", row.field)
			}
			resp := slow(t, up)("blobs/"+row.d.String(), header)
			if resp.StatusCode != row.want {
				t.Errorf("status %d, want %d", resp.StatusCode, row.want)
			}
		})
	}
}
