package clients

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/mirror"
)

const (
	// slowLayer is the size of a layer in bytes, and slowPause the pause of its upstream after
	// each half KiB: the layer takes longer than the 30 seconds that containerd waits for the
	// header of a part.
	slowLayer = 20 << 20
	slowPause = time.Millisecond
)

// partsContainerd makes containerd request one layer in concurrent parts.
const partsContainerd = currentContainerd + `
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 32
  concurrent_layer_fetch_buffer = 1048576
`

// containerd 2.3 and later can fetch one layer in many ranges at once, and gives up a range
// whose header takes 30 seconds. With a slow upstream the last ranges are minutes away.
func TestMirrorForContainerdThatFetchesALayerInParts(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("set REGISTRY_SLOW, as make test-all does")
	}
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	image, err := random.Image(slowLayer, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := mirror.Push(t, hub, "library/slow", "v1", image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	hub.Fault(upstreamtest.Fault{Host: "storage", Path: layer.String(), Pause: slowPause})
	r, h := startMirror(t, hub, "fallback docker.io"), newHome(t)

	// The requests of containerd pass through here.
	target, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	var parts atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" && strings.HasSuffix(r.URL.Path, layer.String()) {
			parts.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)

	must := containerdIn(t, h, "-current", partsContainerd)
	dir := h.path("hosts")
	if err := os.MkdirAll(filepath.Join(dir, "docker.io"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := form(t, "containerd", strings.TrimPrefix(front.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "docker.io", "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must("images", "pull", "--hosts-dir", dir, "docker.io/library/slow:v1")
	if got := digest.Digest(strings.Fields(must("images", "list", "name==docker.io/library/slow:v1"))[8]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := parts.Load(); got < 8 {
		t.Errorf("containerd requested %d parts of the layer, want many: this test proves nothing", got)
	}
	// The layer is downloaded once, in order. Requests for parts far ahead of that add no more than a few.
	var others, whole, ranges []string
	for _, r := range hub.Recorded() {
		switch {
		case r.Host != "storage" || r.Method != "GET":
		case !strings.Contains(r.Path, layer.String()):
			others = append(others, r.String())
		case r.Header.Get("Range") == "":
			whole = append(whole, r.String())
		default:
			ranges = append(ranges, r.String())
		}
	}
	if len(whole) != 1 || len(ranges) > 4 || len(others) != 1 {
		t.Errorf("the upstream got %q and %q for the layer, and %q, want the layer once with at most four ranges, and the configuration",
			whole, ranges, others)
	}
}
