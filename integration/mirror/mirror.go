// Package mirror puts the built binary in front of upstreams that a test controls. The
// upstreams are those of core/upstream/upstreamtest, on loopback: they record their requests,
// and fail on demand.
//
//	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
//	d := mirror.Push(t, hub, "library/app", "v1", image)
//	s := mirror.Start(t, mirror.Options{OCI: "private team/**\n" + mirror.Block("docker.io", hub), Site: "fallback docker.io"})
//	http.Get(s.URL + "/v2/docker.io/library/app/manifests/v1")
package mirror

import (
	"fmt"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// Content is an image or an index.
type Content interface {
	RawManifest() ([]byte, error)
	MediaType() (types.MediaType, error)
}

// Push puts an image, or an index with all its images, into an upstream.
func Push(t testing.TB, u *upstreamtest.Upstream, repo, tag string, content Content) digest.Digest {
	t.Helper()
	switch content := content.(type) {
	case v1.Image:
		pushBlobs(t, u, repo, content)
	case v1.ImageIndex:
		manifest, err := content.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range manifest.Manifests {
			image, err := content.Image(child.Digest)
			if err != nil {
				t.Fatal(err)
			}
			put(t, u, repo, image)
			pushBlobs(t, u, repo, image)
		}
	}
	return put(t, u, repo, content, tag)
}

func put(t testing.TB, u *upstreamtest.Upstream, repo string, content Content, tags ...string) digest.Digest {
	t.Helper()
	data, err := content.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := content.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	return u.Manifest(repo, string(mediaType), data, tags...)
}

func pushBlobs(t testing.TB, u *upstreamtest.Upstream, repo string, image v1.Image) {
	t.Helper()
	config, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	u.Blob(repo, config)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		body, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			t.Fatal(err)
		}
		u.Blob(repo, data)
	}
}

// Block is the block of a mirror of u, with further options.
func Block(name string, u *upstreamtest.Upstream, options ...string) string {
	return fmt.Sprintf("\t\tmirror %s {\n\t\t\tupstream %s\n\t\t\tallow_private %s\n\t\t\t%s\n\t\t}\n",
		name, u.URL, strings.Join(u.AllowPrivate(), " "), strings.Join(options, "\n\t\t\t"))
}

// Options are the text between the lines of a Caddyfile.
type Options struct {
	// OCI is in the block oci, Site in the directive oci_registry.
	OCI, Site string
	// Data and Port are as of server.Options.
	Data string
	Port int
}

// Caddyfile configures a registry that allows every caller everything, on one site.
func (o Options) Caddyfile() string {
	return fmt.Sprintf(`{
	persist_config off
	grace_period 2s
	oci {
		storage file {$REGISTRY_DATA}
		policy {
			allow anonymous *
		}
%s
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	metrics /metrics
	oci_registry {
%s
	}
}
`, o.OCI, o.Site)
}

// Start runs the binary with the options until the test ends.
func Start(t testing.TB, o Options) *server.Server {
	t.Helper()
	return server.Start(t, server.Options{Caddyfile: o.Caddyfile(), Data: o.Data, Port: o.Port})
}
