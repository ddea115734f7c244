package mirror

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// parts is the number of concurrent ranges in which one client requests one layer, as
// containerd 2.3 and later, nydus and stargz do.
const parts = 32

// part is one range of a layer: the answer's header has arrived, the body has not.
type part struct {
	first, last int
	response    *http.Response
	err         error
}

// askParts requests all parts of a layer at once. Each is sent when its header arrives.
func askParts(ctx context.Context, c *client.Client, repo string, layer []byte, want int) <-chan part {
	answers := make(chan part, parts)
	size := len(layer) / parts
	for i := range parts {
		p := part{first: i * size, last: (i+1)*size - 1}
		if i == parts-1 {
			p.last = len(layer) - 1
		}
		go func() {
			header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", p.first, p.last)}}
			p.response, p.err = c.Request(ctx, http.MethodGet, "/v2/"+repo+"/blobs/"+digest.FromBytes(layer).String(), header, nil, want)
			answers <- p
		}()
	}
	return answers
}

// read reads a part's body and compares it.
func (p part) read(layer []byte) error {
	defer p.response.Body.Close()
	got, err := io.ReadAll(p.response.Body)
	if err != nil {
		return fmt.Errorf("bytes %d-%d: %w", p.first, p.last, err)
	}
	if !bytes.Equal(got, layer[p.first:p.last+1]) {
		return fmt.Errorf("bytes %d-%d: received %d other bytes", p.first, p.last, len(got))
	}
	return nil
}

// The header of every part comes while the upstream holds back the bytes: clients give up a
// part whose header takes 30 seconds, and start again.
func TestPartsOfAColdLayerAreAnsweredBeforeTheirBytes(t *testing.T) {
	layer := client.NewImage(9, 1, 8<<20).Blobs[1]
	for _, row := range []struct {
		name  string
		kind  upstreamtest.Kind
		host  string
		after int64
		noLen bool
	}{
		{"open registry, no byte yet", upstreamtest.Open, "registry", 0, false},
		{"open registry, some bytes", upstreamtest.Open, "registry", 100 << 10, false},
		{"storage behind a redirect", upstreamtest.Hub, "storage", 100 << 10, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			hub := upstreamtest.New(t, upstreamtest.Config{Kind: row.kind})
			hub.Blob("library/app", layer)
			s := server.Start(t, server.Options{Caddyfile: caddyfile(hub.URL, allowed(hub))})
			c := client.New(s.URL)
			defer c.Close()
			rest := hub.Fault(upstreamtest.Fault{Host: row.host, Path: digest.FromBytes(layer).String(), Stall: true, After: row.after})
			ctx := bounded(t)
			answers := askParts(ctx, c, "docker.io/library/app", layer, http.StatusPartialContent)
			var all []part
			for range parts {
				p := <-answers
				if p.err != nil {
					t.Fatalf("bytes %d-%d: no header while the upstream held the bytes back: %v", p.first, p.last, p.err)
				}
				want := fmt.Sprintf("bytes %d-%d/%d", p.first, p.last, len(layer))
				if got := p.response.Header.Get("Content-Range"); got != want {
					t.Errorf("got Content-Range %q, want %q", got, want)
				}
				if got := p.response.ContentLength; got != int64(p.last-p.first+1) {
					t.Errorf("bytes %d-%d: got Content-Length %d", p.first, p.last, got)
				}
				all = append(all, p)
			}
			rest.Lift()
			ended := make(chan error, parts)
			for _, p := range all {
				go func() { ended <- p.read(layer) }()
			}
			for range parts {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if got := count(hub, row.host+" GET ", digest.FromBytes(layer).String()); got != 1 {
				t.Errorf("the upstream got %d requests for the layer, want one", got)
			}
		})
	}
}

// Lazy clients read the end of a layer first. They get it while the rest is on its way.
func TestTheEndOfAColdLayerComesFirst(t *testing.T) {
	layer := client.NewImage(9, 1, 24<<20).Blobs[1]
	hub := upstreamtest.New(t, upstreamtest.Config{})
	hub.Blob("library/app", layer)
	s := server.Start(t, server.Options{Caddyfile: caddyfile(hub.URL, allowed(hub))})
	c := client.New(s.URL)
	defer c.Close()
	name := digest.FromBytes(layer).String()
	rest := hub.Fault(upstreamtest.Fault{Path: name, Stall: true, After: 100 << 10, Times: 1})
	ctx := bounded(t)
	get := func(p part) error {
		header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", p.first, p.last)}}
		p.response, p.err = c.Request(ctx, http.MethodGet, "/v2/docker.io/library/app/blobs/"+name, header, nil,
			http.StatusPartialContent)
		if p.err != nil {
			return p.err
		}
		return p.read(layer)
	}
	end := part{first: len(layer) - 50_000, last: len(layer) - 1}
	for _, p := range []part{end, {first: 16 << 20, last: 17<<20 - 1}, end} {
		if err := get(p); err != nil {
			t.Fatal(err)
		}
	}
	rest.Lift()
	if err := get(part{first: 0, last: len(layer) - 1}); err != nil {
		t.Error(err)
	}
	// All of it, the two ranges, and perhaps the bytes after the larger one.
	if got := count(hub, "registry GET ", name); got < 3 || got > 4 {
		t.Errorf("the upstream got %d requests for the layer, want 3 or 4", got)
	}
}

// No header is sent before the upstream's: it would report success for a layer that does not
// exist or cannot be read.
func TestPartsOfAMissingLayerAreRefused(t *testing.T) {
	layer := client.NewImage(9, 1, 1<<20).Blobs[1]
	for _, row := range []struct{ status, want int }{
		{http.StatusNotFound, http.StatusNotFound},
		{http.StatusTooManyRequests, http.StatusTooManyRequests},
		{http.StatusServiceUnavailable, http.StatusBadGateway},
		{http.StatusForbidden, 0},
	} {
		t.Run(http.StatusText(row.status), func(t *testing.T) {
			entered, lift := make(chan struct{}, parts), make(chan struct{})
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return
				}
				entered <- struct{}{}
				<-lift
				w.WriteHeader(row.status)
			}))
			t.Cleanup(up.Close)
			s := server.Start(t, server.Options{Caddyfile: caddyfile(up.URL, "allow_private 127.0.0.0/8")})
			c := client.New(s.URL)
			defer c.Close()
			ctx := bounded(t)
			answers := askParts(ctx, c, "docker.io/library/app", layer, http.StatusPartialContent)
			<-entered
			close(lift)
			for range parts {
				p := <-answers
				refused, ok := p.err.(*client.StatusError)
				if !ok {
					t.Fatalf("bytes %d-%d: got an answer (%v), want a refusal", p.first, p.last, p.err)
				}
				if row.want != 0 && refused.Status != row.want || refused.Status < 400 {
					t.Errorf("bytes %d-%d: status %d, want %d", p.first, p.last, refused.Status, row.want)
				}
			}
		})
	}
}
