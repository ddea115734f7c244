package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/mirror"
)

// The current containerd, in addition to Debian's: its daemon pulls itself (the transfer
// service), and its client still can. No container is run: its shim is not built, and running
// does not involve the registry.
const currentContainerd = `version = 3
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "native"
`

// Containerd takes minutes to build, so `make test-all` alone drives it.
func TestMirrorForTheCurrentContainerd(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("set REGISTRY_SLOW, as make test-all does")
	}
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	want := mirror.Push(t, hub, "library/busybox", "v1", busybox(t))
	r, h := startMirror(t, hub, ""), newHome(t)
	must := containerdIn(t, h, "-current", currentContainerd)

	for _, row := range []struct{ name, host, form string }{
		{"ns", "docker.io", "containerd"},
		{"ns and prefix", "docker.io", "containerd, by path"},
		{"ns of Docker Hub's index", "index.docker.io", "containerd"},
	} {
		dir := h.path("hosts " + row.name)
		if err := os.MkdirAll(filepath.Join(dir, row.host), 0o700); err != nil {
			t.Fatal(err)
		}
		// It names this registry alone, so a miss does not leave this machine.
		if err := os.WriteFile(filepath.Join(dir, row.host, "hosts.toml"), []byte(form(t, row.form, r.Host)), 0o600); err != nil {
			t.Fatal(err)
		}
		ref := row.host + "/library/busybox:v1"
		for _, how := range [][]string{nil, {"--local", "--snapshotter", "native"}} {
			must(append(append([]string{"images", "pull", "--hosts-dir", dir}, how...), ref)...)
			if got := digest.Digest(strings.Fields(must("images", "list", "name=="+ref))[8]); got != want {
				t.Errorf("%s %v: got %s, want %s", row.name, how, got, want)
			}
			must("images", "remove", "--sync", ref)
		}
	}
	if got := blobGETs(hub); got != 2 {
		t.Errorf("got %d blobs fetched, want the layer and the configuration once", got)
	}

	// A push goes to the host that hosts.toml names, with this registry's own ns.
	const ours = "registry.test/team/busybox:v1"
	dir := h.path("hosts of ours")
	if err := os.MkdirAll(filepath.Join(dir, "registry.test"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "server = \"" + r.URL + "\"\n[host.\"" + r.URL + "\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "registry.test", "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must("images", "import", archive(t, h, ours))
	pushed := digest.Digest(strings.Fields(must("images", "list", "name=="+ours))[8])
	must("images", "push", "--hosts-dir", dir, ours)
	r.holds(t, "team/busybox", "v1", pushed)
	must("images", "remove", "--sync", ours)
	must("images", "pull", "--hosts-dir", dir, ours)
}
