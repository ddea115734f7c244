package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// limit bounds the waits of a test.
const limit = 60 * time.Second

// caddyfile has one mirror, docker.io, of the upstream at url.
func caddyfile(url string, options ...string) string {
	return fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		mirror docker.io {
			upstream %s
			%s
		}
		policy {
			allow anonymous *
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	oci_registry
}
`, url, strings.Join(options, "\n\t\t\t"))
}

// allowed is the option for where an upstream on loopback leads.
func allowed(u *upstreamtest.Upstream) string {
	return "allow_private " + strings.Join(u.AllowPrivate(), " ")
}

// give makes the upstream have an image.
func give(u *upstreamtest.Upstream, repo, tag string, image client.Image) {
	for _, blob := range image.Blobs {
		u.Blob(repo, blob)
	}
	u.Manifest(repo, ocispec.MediaTypeImageManifest, image.Manifest, tag)
}

// count returns the number of the upstream's requests that contain all of parts.
func count(u *upstreamtest.Upstream, parts ...string) int {
	n := 0
	for _, line := range u.Requests() {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
