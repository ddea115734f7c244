package mirror

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

func TestADownloadCutByKillIsResumed(t *testing.T) {
	for _, row := range []struct {
		name string
		// corrupt: the upstream sends a wrong rest, once.
		corrupt bool
	}{
		{"and ends with the right bytes", false},
		{"and wrong bytes are not served as if they were right", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			const size, sent, block = 2 << 20, 1 << 20, 256 << 10
			u := upstreamtest.New(t, upstreamtest.Config{})
			image := client.NewImage(7, 1, size)
			give(u, "library/app", "v1", image)
			layer := digest.FromBytes(image.Blobs[1])
			text := caddyfile(u.URL, "breaker 1ms")
			s := server.Start(t, server.Options{Caddyfile: text})
			ctx := bounded(t)
			c := client.New(s.URL)
			defer c.Close()
			if _, _, err := c.Manifest(ctx, "docker.io/library/app", "v1"); err != nil {
				t.Fatal(err)
			}

			rest := u.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: sent})
			response, err := c.Request(ctx, http.MethodGet, "/v2/docker.io/library/app/blobs/"+layer.String(), nil, nil, http.StatusOK)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.CopyN(io.Discard, response.Body, sent); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			if n, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Errorf("the body ended cleanly after %d of %d bytes", sent+n, size)
			}
			rest.Lift()
			u.Forget()
			if row.corrupt {
				u.Fault(upstreamtest.Fault{Path: layer.String(), Corrupt: true, Times: 1})
			}

			s = server.Start(t, server.Options{Caddyfile: text, Data: s.Data})
			c = client.New(s.URL)
			defer c.Close()
			_, err = c.PullImage(ctx, "docker.io/library/app", "v1")
			// The kill may come before the last block, which the client already has, is
			// written.
			got := count(u, "GET ", layer.String(), fmt.Sprintf(" bytes=%d-", sent)) +
				count(u, "GET ", layer.String(), fmt.Sprintf(" bytes=%d-", sent-block))
			if got != 1 {
				t.Errorf("the rest was requested %d times, want once:\n%s", got, strings.Join(u.Requests(), "\n"))
			}
			if row.corrupt {
				if err == nil || strings.Contains(err.Error(), "content is") {
					t.Errorf("got %v, want a body that breaks off, or no answer", err)
				}
				_, err = c.PullImage(ctx, "docker.io/library/app", "v1")
			}
			if err != nil {
				t.Error(err)
			}
			u.Forget()
			if _, err = c.PullImage(ctx, "docker.io/library/app", "v1"); err != nil {
				t.Error(err)
			}
			if got = count(u, "/blobs/"); got != 0 {
				t.Errorf("a stored blob was requested %d times", got)
			}
		})
	}
}
