package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	clients   = 100
	layers    = 5
	layerSize = 256 << 10
	// firstPart is how much of a layer the upstream sends before it holds the rest back, in
	// bytes.
	firstPart = 32 << 10
	// freshPulls are those of a tag that the upstream must not hear of.
	freshPulls = 1000
)

func TestAHundredClientsPullOneColdImage(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	image := client.NewImage(1, layers, layerSize)
	give(hub, "library/app", "v1", image)
	s := server.Start(t, server.Options{Caddyfile: caddyfile(hub.URL, allowed(hub))})
	var rest []*upstreamtest.Active
	for _, layer := range image.Blobs[1:] {
		rest = append(rest, hub.Fault(upstreamtest.Fault{Host: "storage", Path: digest.FromBytes(layer).String(), Stall: true, After: firstPart}))
	}

	ctx := bounded(t)
	begun := make(chan struct{}, clients*layers)
	ended := make(chan error, clients)
	for range clients {
		go func() { ended <- pull(ctx, s.URL, "docker.io/library/app", begun) }()
	}
	for n := range clients * layers {
		select {
		case <-begun:
		case err := <-ended:
			t.Fatalf("a client ended while the upstream held the rest back: %v", err)
		case <-ctx.Done():
			t.Fatalf("%d of %d downloads had their first bytes while the upstream held the rest back", n, clients*layers)
		}
	}
	for _, fault := range rest {
		fault.Lift()
	}
	for range clients {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}

	for _, want := range [][]string{
		{"token GET "},
		{"registry GET ", "/manifests/v1 bearer"},
	} {
		if got := count(hub, want...); got != 1 {
			t.Errorf("the upstream got %d requests for %q, want one", got, want)
		}
	}
	for _, blob := range image.Blobs {
		if got := count(hub, "storage GET ", digest.FromBytes(blob).String()); got != 1 {
			t.Errorf("the upstream sent a blob of %d bytes %d times, want once", len(blob), got)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(hub.Requests(), "\n"))
	}

	hub.Forget()
	c := client.New(s.URL)
	defer c.Close()
	for range freshPulls {
		if _, _, err := c.Manifest(ctx, "docker.io/library/app", "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := hub.Requests(); len(got) != 0 {
		t.Errorf("the upstream got a request for a fresh tag: %q", got)
	}
}

// pull gets an image as a client does, all blobs at once, and verifies it. It calls begun for
// each layer whose first part has arrived.
func pull(ctx context.Context, url, repo string, begun chan<- struct{}) error {
	c := client.New(url)
	defer c.Close()
	content, _, err := c.Manifest(ctx, repo, "v1")
	if err != nil {
		return err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		return err
	}
	errs := make(chan error)
	for _, layer := range manifest.Layers {
		go func() { errs <- pullLayer(ctx, c, repo, layer, begun) }()
	}
	_, first := c.Blob(ctx, repo, manifest.Config.Digest)
	for range manifest.Layers {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func pullLayer(ctx context.Context, c *client.Client, repo string, layer ocispec.Descriptor, begun chan<- struct{}) error {
	response, err := c.Request(ctx, http.MethodGet, "/v2/"+repo+"/blobs/"+layer.Digest.String(), nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	verifier := layer.Digest.Verifier()
	body := io.TeeReader(response.Body, verifier)
	if _, err := io.CopyN(io.Discard, body, firstPart); err != nil {
		return fmt.Errorf("first part of %s: %w", layer.Digest, err)
	}
	begun <- struct{}{}
	if n, err := io.Copy(io.Discard, body); err != nil || n != layer.Size-firstPart {
		return fmt.Errorf("rest of %s: %d bytes: %w", layer.Digest, n, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("%s has the wrong content", layer.Digest)
	}
	return nil
}
