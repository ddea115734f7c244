package upstream_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// compressing is a registry that compresses everything, whatever the client accepts.
type compressing struct {
	coding []string // the fields
	squash func([]byte) []byte
	token  bool     // also of the token endpoint
	asked  []string // the Accept-Encoding fields of the requests
}

func (c *compressing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked = append(c.asked, strings.Join(r.Header.Values("Accept-Encoding"), "|"))
	var data []byte
	status := http.StatusOK
	switch {
	case r.URL.Path == "/token":
		data = []byte(`{"token":"t","expires_in":300}`)
	case r.Header.Get("Authorization") != "Bearer t":
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.test/token"`)
		status = http.StatusUnauthorized
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", index)
		w.Header().Set("Docker-Content-Digest", string(digest.FromBytes(document)))
		data = document
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		data = []byte(`{"tags":["a","b"]}`)
	case strings.Contains(r.URL.Path, "/referrers/"):
		w.Header().Set("Content-Type", index)
		data = []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"` + string(digest.FromString("x")) + `","size":1}]}`)
	default:
		data = layer
	}
	if c.token || r.URL.Path != "/token" {
		data = c.squash(data)
		for _, field := range c.coding {
			w.Header().Add("Content-Encoding", field)
		}
	}
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && status == http.StatusOK {
		from, _, _ = strings.Cut(from, "-")
		first, _ := strconv.Atoi(from)
		first = max(0, min(first, len(data)-1)) // of the compressed bytes, as such servers do it
		w.Header().Set("Content-Range", "bytes "+strconv.Itoa(first)+"-"+strconv.Itoa(len(data)-1)+"/"+strconv.Itoa(len(data)))
		status, data = http.StatusPartialContent, data[first:]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

// Compressed answers are never requested, and gzip is undone if it comes nevertheless. If
// a header is wrong, the digest decides or, for a list, which has none, whether it begins
// as gzip does.
func TestCodingOfAnswers(t *testing.T) {
	twice := func(data []byte) []byte { return gzipped(gzipped(data)) }
	same := func(data []byte) []byte { return data }
	for _, tt := range []struct {
		name   string
		coding []string
		squash func([]byte) []byte
		err    error // of all but lists
		list   error
		alien  bool // the bytes of the blob are passed on, and the caller sees that they are wrong
	}{
		{"none", nil, same, nil, nil, false},
		{"identity", []string{"identity"}, same, nil, nil, false},
		{"an empty field", []string{""}, same, nil, nil, false},
		{"gzip", []string{"gzip"}, gzipped, nil, nil, false},
		{"x-gzip", []string{"x-gzip"}, gzipped, nil, nil, false},
		{"gzip in capitals", []string{"GZip"}, gzipped, nil, nil, false},
		{"gzip beside identity", []string{"identity, gzip"}, gzipped, nil, nil, false},
		{"gzip beside identity, in two fields", []string{"gzip", "identity"}, gzipped, nil, nil, false},
		{"gzip of two members", []string{"gzip"}, func(data []byte) []byte { return append(gzipped(data[:len(data)/2]), gzipped(data[len(data)/2:])...) }, nil, nil, false},

		// The header is wrong.
		{"gzip that is not gzip", []string{"gzip"}, same, nil, nil, false},
		{"zstd that is not zstd", []string{"zstd"}, same, nil, upstream.ErrUnavailable, false},
		{"br that is not br", []string{"br"}, same, nil, upstream.ErrUnavailable, false},
		{"gzip twice that is not gzip", []string{"gzip, gzip"}, same, nil, upstream.ErrUnavailable, false},
		{"the chunks of a storage", []string{"aws-chunked"}, same, nil, upstream.ErrUnavailable, false},
		{"an invalid coding", []string{"\"gzip\""}, same, nil, upstream.ErrUnavailable, false},

		{"gzip twice", []string{"gzip, gzip"}, twice, upstream.ErrCorrupt, upstream.ErrUnavailable, true},
		{"gzip twice, in two fields", []string{"gzip", "gzip"}, twice, upstream.ErrCorrupt, upstream.ErrUnavailable, true},
		{"gzip as an invalid coding", []string{"\"gzip\""}, gzipped, upstream.ErrCorrupt, upstream.ErrUnavailable, true},
		{"gzip that is cut", []string{"gzip"}, func(data []byte) []byte { z := gzipped(data); return z[:len(z)-9] }, upstream.ErrUnavailable, upstream.ErrUnavailable, false},
		{"an empty body as gzip", []string{"gzip"}, func([]byte) []byte { return nil }, upstream.ErrUnavailable, upstream.ErrUnavailable, false},
		{"gzip with a wrong sum", []string{"gzip"}, func(data []byte) []byte { z := gzipped(data); z[len(z)-6] ^= 1; return z }, upstream.ErrUnavailable, upstream.ErrUnavailable, false},
		{"gzip with something behind it", []string{"gzip"}, func(data []byte) []byte { return append(gzipped(data), "more"...) }, upstream.ErrUnavailable, upstream.ErrUnavailable, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				h := &compressing{coding: tt.coding, squash: tt.squash, token: tt.list == nil}
				serve(t, n, "registry.test:80", h)
				m, err := f.client.Manifest(t.Context(), repo, tag)
				if !errors.Is(err, tt.err) || err == nil && !bytes.Equal(m.Bytes, document) {
					t.Errorf("manifest: got %q, %v, want %v", m.Bytes, err, tt.err)
				}
				tags, err := f.client.Tags(t.Context(), repo)
				if !errors.Is(err, tt.list) || err == nil && len(tags) != 2 {
					t.Errorf("tags: got %q, %v, want %v", tags, err, tt.list)
				}
				refers, err := f.client.Referrers(t.Context(), repo, digest.FromBytes(document))
				if !errors.Is(err, tt.list) || err == nil && len(refers) != 1 {
					t.Errorf("referrers: got %v, %v, want %v", refers, err, tt.list)
				}
				for _, offset := range []int64{0, 5000} {
					got, size, err := readBlob(t.Context(), f.client, f.blob, offset)
					if tt.alien {
						if err == nil && bytes.Equal(got, layer[offset:]) {
							t.Errorf("blob from %d: got the blob, want other bytes", offset)
						}
						continue
					}
					if !errors.Is(err, tt.err) || err == nil && !bytes.Equal(got, layer[offset:]) {
						t.Errorf("blob from %d: got %d bytes, %v, want %v", offset, len(got), err, tt.err)
					}
					if err == nil && size >= 0 && size != int64(len(layer)) {
						t.Errorf("blob from %d: got size %d, want %d or -1", offset, size, len(layer))
					}
				}
				if size, err := f.client.Attest(t.Context(), repo, f.blob, -1); err == nil && size >= 0 && size != int64(len(layer)) {
					t.Errorf("attest: got size %d, want %d or -1", size, len(layer))
				}
				if d, err := f.client.Head(t.Context(), repo, tag); err == nil && d.Descriptor.Size >= 0 && d.Descriptor.Size != int64(len(document)) {
					t.Errorf("head: got size %d, want %d or -1", d.Descriptor.Size, len(document))
				}
				for _, got := range h.asked {
					if got != "identity" {
						t.Errorf("asked with Accept-Encoding %q, want identity", got)
					}
				}
			})
		})
	}
}

// A little that becomes much ends as soon as that is seen.
func TestCompressedBombEnds(t *testing.T) {
	const full = 192 << 20
	var bomb bytes.Buffer
	w, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	zeros := make([]byte, 1<<20)
	for range full / len(zeros) {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		serve(t, n, "registry.test:80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", index)
			_, _ = w.Write(bomb.Bytes())
		}))
		if _, err := f.client.Manifest(t.Context(), repo, tag); !errors.Is(err, upstream.ErrTooLarge) {
			t.Errorf("manifest: got %v, want %v", err, upstream.ErrTooLarge)
		}
		if _, err := f.client.Tags(t.Context(), repo); !errors.Is(err, upstream.ErrCorrupt) && !errors.Is(err, upstream.ErrTooLarge) {
			t.Errorf("tags: got %v, want %v", err, upstream.ErrTooLarge)
		}
		if got, _, err := readBlob(t.Context(), f.client, f.blob, 0); !errors.Is(err, upstream.ErrUnavailable) || len(got) > 0 {
			t.Errorf("blob: got %d bytes, %v, want none, and %v", len(got), err, upstream.ErrUnavailable)
		}
	})
}
