package clients

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Helm takes minutes to build, so `make test-all` alone drives it.
func TestHelm(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("set REGISTRY_SLOW, as make test-all does")
	}
	r, h := start(t), newHome(t)
	h.run(t, "helm", "create", "chart")
	h.run(t, "helm", "package", "chart")
	sent, err := os.ReadFile(h.path("chart-0.1.0.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	h.run(t, "helm", "push", "--plain-http", "chart-0.1.0.tgz", "oci://"+r.ref("charts"))
	out := h.run(t, "crane", "digest", r.ref("charts/chart:0.1.0"))
	r.holds(t, "charts/chart", "0.1.0", digest.Digest(strings.TrimSpace(out)))

	if err := os.Mkdir(h.path("pulled"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.run(t, "helm", "pull", "--plain-http", "--version", "0.1.0", "--destination", h.path("pulled"), "oci://"+r.ref("charts/chart"))
	got, err := os.ReadFile(h.path("pulled/chart-0.1.0.tgz"))
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("pulled chart has %d bytes, error %v; want the %d that were pushed", len(got), err, len(sent))
	}
}
