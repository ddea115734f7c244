package upstream_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A host that answers 200 need not be a registry, and its content need not be the
// blob.
func TestAttestBelievesWhatItCanCheck(t *testing.T) {
	const page = "<html>Sign in to the guest network</html>"
	whole := int64(len(layer))
	html := header("Content-Type", "text/html; charset=utf-8")
	named := func(d digest.Digest) http.Header { return header("Docker-Content-Digest", string(d)) }
	own := digest.FromBytes(layer)
	for _, tt := range []struct {
		name  string
		want  int64
		fault upstreamtest.Fault
		size  int64
		err   error
		asked int
	}{
		{"the right size", whole, upstreamtest.Fault{}, whole, nil, 1},
		{"the right digest", whole, upstreamtest.Fault{NoLength: true, Header: named(own)}, whole, nil, 1},
		{"the right digest, of a size that is not known", -1, upstreamtest.Fault{Header: named(own)}, whole, nil, 1},
		{"the right digest, with an odd length", whole, upstreamtest.Fault{Method: "HEAD", Status: 200, Header: named(own)}, whole, nil, 1},
		{"a digest of another algorithm, with the right size", whole, upstreamtest.Fault{Header: named(digest.SHA512.FromBytes(layer))}, whole, nil, 1},
		{"a broken digest, with the right size", whole, upstreamtest.Fault{Header: named("sha256:x")}, whole, nil, 1},
		{"the right size by a byte where HEAD says none", whole, upstreamtest.Fault{Method: "HEAD", NoLength: true}, whole, nil, 2},
		{"the right size by a byte where HEAD is answered with a page", whole, upstreamtest.Fault{Method: "HEAD", Status: 200, Header: html}, whole, nil, 2},
		{"the right size where a coding is claimed", whole, upstreamtest.Fault{Header: header("Content-Encoding", "gzip")}, whole, nil, 1},
		{"nothing to compare with", -1, upstreamtest.Fault{}, whole, nil, 1},
		{"nothing to compare with, and a coding", -1, upstreamtest.Fault{Header: header("Content-Encoding", "gzip")}, -1, nil, 1},

		// A GET that is answered oddly is made twice.
		{"another size", whole - 1, upstreamtest.Fault{}, 0, upstream.ErrCorrupt, 3},
		{"no size, and no ranges", whole, upstreamtest.Fault{NoLength: true, NoRange: true}, 0, upstream.ErrCorrupt, 3},
		{"another digest", whole, upstreamtest.Fault{Header: named(digest.FromString("other"))}, 0, upstream.ErrCorrupt, 3},
		{"another digest, of a size that is not known", -1, upstreamtest.Fault{Header: named(digest.FromString("other"))}, 0, upstream.ErrCorrupt, 3},
		{"a page", whole, upstreamtest.Fault{Status: 200, Header: html, Body: page}, 0, upstream.ErrCorrupt, 3},
		{"a page, of a size that is not known", -1, upstreamtest.Fault{Status: 200, Header: html, Body: page}, 0, upstream.ErrCorrupt, 3},
		{"a page without a type", whole, upstreamtest.Fault{Status: 200, Body: page}, 0, upstream.ErrCorrupt, 3},
		{"an empty page", whole, upstreamtest.Fault{Status: 200}, 0, upstream.ErrCorrupt, 3},
		{"a missing empty blob", whole, upstreamtest.Fault{Status: 416, Header: header("Content-Range", "bytes */0")}, 0, upstream.ErrCorrupt, 2},
		{"an empty blob", 0, upstreamtest.Fault{Status: 416, Header: header("Content-Range", "bytes */0")}, 0, nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{}, nil)
			tt.fault.Path = "/blobs/"
			f.Fault(tt.fault)
			size, err := f.client.Attest(t.Context(), repo, f.blob, tt.want)
			if !errors.Is(err, tt.err) || err == nil && size != tt.size {
				t.Errorf("got %d, %v, want %d, %v", size, err, tt.size, tt.err)
			}
			if asked := len(f.Requests()); asked != tt.asked {
				t.Errorf("the upstream saw %d requests, want %d", asked, tt.asked)
			}
		})
	}
}
