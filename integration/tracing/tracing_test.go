package tracing

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	limit = 2 * time.Minute
	scope = "github.com/eblume/caddy-registry"
	repo  = "docker.io/library/app"
	// handed is the trace that a client says its requests belong to, and handedID its identifier.
	handedID = "0af7651916cd43dd8448eb211c80319c"
	handed   = "00-" + handedID + "-b7ad6b7169203331-01"
)

// setup is a traced registry with a mirror of hub, and the receiver of its spans.
type setup struct {
	*server.Server
	*receiver
	hub *upstreamtest.Upstream
}

func start(t *testing.T) setup {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	r := newReceiver(t)
	for key, value := range map[string]string{
		"OTEL_TRACES_EXPORTER":        "otlp",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT": r.url,
		"OTEL_BSP_SCHEDULE_DELAY":     "50",
		"OTEL_PROPAGATORS":            "tracecontext,baggage,b3,b3multi,jaeger,ottrace,xray",
		"NO_PROXY":                    "127.0.0.1",
	} {
		t.Setenv(key, value)
	}
	caddyfile := fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		mirror docker.io {
			upstream %s
			allow_private %s
		}
		policy {
			allow anonymous *
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	log
	tracing
	oci_registry
}
`, hub.URL, strings.Join(hub.AllowPrivate(), " "))
	return setup{server.Start(t, server.Options{Caddyfile: caddyfile}), r, hub}
}

// give makes the upstream have an image.
func give(u *upstreamtest.Upstream, image client.Image) {
	for _, blob := range image.Blobs {
		u.Blob("library/app", blob)
	}
	u.Manifest("library/app", ocispec.MediaTypeImageManifest, image.Manifest, "v1")
}

// eventually waits until the spans that were received satisfy a condition.
func (s setup) eventually(t *testing.T, what string, condition func([]span) bool) []span {
	t.Helper()
	err := server.Eventually(limit, func() (bool, error) { return condition(s.all()), nil })
	if err != nil {
		var lines strings.Builder
		for _, got := range s.all() {
			fmt.Fprintf(&lines, "%s %s in %s, below %s, links %s\n", got.id(), got.Name, got.trace()[:8], got.parent(), got.links())
		}
		t.Fatalf("%s: %v; spans:\n%s", what, err, lines.String())
	}
	return s.all()
}

// named returns the spans with a name.
func named(spans []span, name string) (found []span) {
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// ancestors returns the names of the spans above s, the nearest one first.
func ancestors(spans []span, s span) (names []string) {
	for range len(spans) {
		at := slices.IndexFunc(spans, func(above span) bool { return above.id() == s.parent() && above.trace() == s.trace() })
		if at < 0 {
			break
		}
		s = spans[at]
		names = append(names, s.Name)
	}
	return names
}

// below reports whether there is a span with a name, with another above it, and above both that of
// Caddy's handler.
func below(spans []span, name, above string) bool {
	return slices.ContainsFunc(named(spans, name), func(s span) bool {
		names := ancestors(spans, s)
		return slices.Contains(names, above) && names[len(names)-1] == "handler"
	})
}

func TestAColdPullAndAPushAreTraced(t *testing.T) {
	s := start(t)
	image := client.NewImage(1, 2, 64<<10)
	give(s.hub, image)
	c := client.New(s.URL)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	header := http.Header{"Traceparent": {handed}, "Tracestate": {"a=b"}, "Baggage": {"user=alice"}, "Accept": {ocispec.MediaTypeImageManifest}}
	answer, err := c.Request(ctx, http.MethodGet, "/v2/"+repo+"/manifests/v1", header, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if _, err := c.PullImage(ctx, repo, "v1"); err != nil {
		t.Fatal(err)
	}
	if err := c.PushImage(ctx, "team/app", "v1", image); err != nil {
		t.Fatal(err)
	}
	answer, err = c.Request(ctx, http.MethodGet, "/v2/"+repo+"/tags/list", nil, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()

	for _, want := range [][2]string{
		{"GET /v2/{name}/manifests/{reference}", "mirror.tag"},
		{"GET token", "mirror.tag"},
		{"GET /v2/{name}/blobs/{digest}", "mirror.download"},
		{"GET storage", "mirror.download"},
		{"store.commit_blob", "mirror.download"},
		{"GET /v2/{name}/tags/list", "mirror.list"},
		{"store.commit_blob", "handler"},
		{"store.commit", "handler"},
		{"store.sync", "store.commit"},
	} {
		s.eventually(t, want[0]+" below "+want[1], func(spans []span) bool { return below(spans, want[0], want[1]) })
	}
	spans := s.all()
	if tags := named(spans, "mirror.tag"); tags[0].trace() != handedID {
		t.Errorf("the pull is in the trace %s, want that of its client, %s", tags[0].trace(), handedID)
	}
	if n, err := s.Said(`"traceID":"` + handedID + `"`); n != 1 || err != nil {
		t.Errorf("the access log has %d lines with the trace of the client, want 1 (%v)", n, err)
	}
	checkAttributes(t, spans)
	checkUpstreamHeader(t, s.hub)
}

// checkAttributes checks that the registry's spans have no attributes but these, and say no more.
func checkAttributes(t *testing.T, spans []span) {
	t.Helper()
	keys := []string{
		"http.request.method", "http.response.status_code", "http.response.body.size", "url.template", "url.scheme",
		"server.address", "server.port", "error.type", "registry.mirror", "registry.blob.size", "registry.sync.objects",
	}
	for _, s := range spans {
		if s.scope != scope {
			continue
		}
		for _, a := range s.Attributes {
			value := a.Value.GetStringValue()
			if !slices.Contains(keys, a.Key) {
				t.Errorf("span %s has the attribute %s", s.Name, a.Key)
			}
			if strings.ContainsAny(value, "?=&: ") || strings.Contains(value, "library") || strings.Contains(value, "sha256") {
				t.Errorf("span %s: %s is %q, want no query, name or digest", s.Name, a.Key, value)
			}
		}
		if s.Status.GetMessage() != "" {
			t.Errorf("span %s has the message %q, want only a kind", s.Name, s.Status.GetMessage())
		}
	}
}

// checkUpstreamHeader checks that an upstream sees nothing but what its protocol needs.
func checkUpstreamHeader(t *testing.T, hub *upstreamtest.Upstream) {
	t.Helper()
	known := []string{"Accept", "Accept-Encoding", "Authorization", "Range", "User-Agent"}
	recorded := hub.Recorded()
	if len(recorded) == 0 {
		t.Error("the upstream got no request")
	}
	for _, r := range recorded {
		for key := range r.Header {
			if !slices.Contains(known, key) {
				t.Errorf("the upstream got %s with the field %s: %q", r, key, r.Header[key])
			}
		}
	}
}

func TestOneDownloadIsLinkedByItsWaiters(t *testing.T) {
	s := start(t)
	image := client.NewImage(2, 1, 256<<10)
	give(s.hub, image)
	layer := digest.FromBytes(image.Blobs[1])
	path := "/v2/" + repo + "/blobs/" + string(layer)
	rest := s.hub.Fault(upstreamtest.Fault{Host: "storage", Path: layer.String(), Stall: true, After: 32 << 10})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var bodies []io.ReadCloser
	for range 2 { // the second client comes when the first one has its first byte
		c := client.New(s.URL)
		defer c.Close()
		answer, err := c.Request(ctx, http.MethodGet, path, nil, nil, http.StatusOK)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, answer.Body)
	}
	rest.Lift()
	for _, body := range bodies {
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	requests := func(spans []span) (found []span) {
		for _, got := range named(spans, "handler") {
			if got.value("url.path") == path {
				found = append(found, got)
			}
		}
		return found
	}
	spans := s.eventually(t, "two requests and a download", func(spans []span) bool {
		return len(requests(spans)) == 2 && len(named(spans, "mirror.download")) > 0
	})
	downloads := named(spans, "mirror.download")
	if len(downloads) != 1 {
		t.Fatalf("%d downloads, want one for both", len(downloads))
	}
	download := downloads[0]
	began, waited := 0, 0
	for _, request := range requests(spans) {
		switch {
		case request.id() == download.parent():
			began++
			if len(request.links()) != 0 {
				t.Errorf("the request that began the download links to %q, want nothing", request.links())
			}
		case slices.Equal(request.links(), []string{download.id()}):
			waited++
		}
	}
	if began != 1 || waited != 1 {
		t.Errorf("%d requests above the download and %d that link to it, want one each", began, waited)
	}
	checkUpstreamHeader(t, s.hub)
}
