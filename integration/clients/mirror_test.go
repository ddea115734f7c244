package clients

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// startMirror is a registry with a mirror of Docker Hub, and private names.
func startMirror(t *testing.T, hub *upstreamtest.Upstream, site string) registry {
	t.Helper()
	s := mirror.Start(t, mirror.Options{
		OCI:  "hostnames registry.test\nprivate team/**\n" + mirror.Block("docker.io", hub),
		Site: site,
	})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	return registry{s, c}
}

// blobGETs counts the requests to the upstream's storage.
func blobGETs(hub *upstreamtest.Upstream) (n int) {
	for _, r := range hub.Recorded() {
		if r.Host == "storage" && r.Method == "GET" {
			n++
		}
	}
	return n
}

func TestMirrorForCraneAndSkopeo(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	want := mirror.Push(t, hub, "library/app", "v1", index(t, true))
	r, h := startMirror(t, hub, "fallback docker.io"), newHome(t)

	// The client requests one platform: its layers and its configuration are fetched, and
	// nothing of the other.
	h.run(t, "crane", "pull", "--insecure", "--platform", "linux/amd64", r.ref("docker.io/app:v1"), h.path("image.tar"))
	if got := blobGETs(hub); got != layers+1 {
		t.Errorf("got %d blobs fetched for one platform, want %d", got, layers+1)
	}
	for _, name := range []string{"docker.io/library/app", "docker.io/app", "library/app", "app"} {
		got := digest.Digest(strings.TrimSpace(h.run(t, "crane", "digest", "--insecure", r.ref(name+":v1"))))
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	h.run(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+r.ref("docker.io/library/app:v1"), "dir:"+h.path("all"))
	h.run(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+r.ref("app:v1"), "dir:"+h.path("again"))
	if got := blobGETs(hub); got != 2*(layers+1) {
		t.Errorf("got %d blobs fetched for both platforms, want %d", got, 2*(layers+1))
	}
	r.holds(t, "docker.io/library/app", "v1", want)

	out, err := h.try(t, "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
		"docker://"+r.ref("app:v1"), "docker://"+r.ref("docker.io/library/mine:v1"))
	if err == nil || !strings.Contains(out+err.Error(), "team/**") {
		t.Errorf("a push to a mirror: got %v: %s, want it refused with the names that can be pushed to", err, out)
	}
	h.run(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
		"docker://"+r.ref("app:v1"), "docker://"+r.ref("team/mine:v1"))
	r.holds(t, "team/mine", "v1", want)
}

// podman and skopeo name a mirror with a prefix, and send no ns.
func TestMirrorInRegistriesConf(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	mirror.Push(t, hub, "library/app", "v1", image(t, true))
	mirror.Push(t, hub, "library/busybox", "v1", busybox(t))
	r, h := startMirror(t, hub, ""), newHome(t)
	if err := os.WriteFile(h.path("registries.conf"), []byte(lines(t, r.Server, "podman")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, "skopeo", "--registries-conf", h.path("registries.conf"), "copy", "docker://docker.io/library/app:v1", "dir:"+h.path("out"))
	if got := blobGETs(hub); got != layers+1 {
		t.Errorf("got %d blobs fetched, want %d", got, layers+1)
	}
	h.env = append(h.env, "CONTAINERS_REGISTRIES_CONF="+h.path("registries.conf"))
	podman := podmanIn(t, h)
	podman("pull", "docker.io/library/busybox:v1")
	if got := podman(append(podmanRun, "docker.io/library/busybox:v1")...); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
}

// Docker's daemon mirrors Docker Hub only, at the root of a site.
func TestMirrorForDocker(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	mirror.Push(t, hub, "library/busybox", "v1", busybox(t))
	r, h := startMirror(t, hub, "fallback docker.io"), newHome(t)
	if err := os.WriteFile(h.path("daemon.json"), []byte(lines(t, r.Server, "docker")), 0o600); err != nil {
		t.Fatal(err)
	}
	// A miss must not leave this machine.
	nowhere := fmt.Sprintf("http://127.0.0.1:%d", server.FreePort(t))
	h.env = append(h.env, "HTTP_PROXY="+nowhere, "HTTPS_PROXY="+nowhere)
	docker := dockerIn(t, h, "--config-file", h.path("daemon.json"))
	docker("pull", "busybox:v1")
	if got := docker("run", "--rm", "--network", "none", "busybox:v1"); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
	if got := blobGETs(hub); got != 2 {
		t.Errorf("got %d blobs fetched, want the layer and the configuration once", got)
	}
}

// A daemon sends its mirror the credentials for Docker Hub. The registry ignores credentials on
// plain HTTP beyond loopback, as in these requests of a proxy, and they must not keep the
// daemon from its mirror.
func TestMirrorForADaemonLoggedInAtDockerHub(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	mirror.Push(t, hub, "library/busybox", "v1", busybox(t))
	r, h := startMirror(t, hub, "fallback docker.io"), newHome(t)
	target, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	var shown atomic.Int32
	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		if user, password, ok := p.In.BasicAuth(); ok && user == "someone" && password == "dckr_pat_of_somebody" {
			shown.Add(1)
		}
		p.SetURL(target)
		p.Out.Host = p.In.Host
		p.SetXForwarded()
	}}
	proxy := httptest.NewServer(forward)
	defer proxy.Close()

	login := base64.StdEncoding.EncodeToString([]byte("someone:dckr_pat_of_somebody"))
	for name, text := range map[string]string{
		"daemon.json": form(t, "Docker", strings.TrimPrefix(proxy.URL, "http://")),
		"config.json": fmt.Sprintf(`{"auths": {"https://index.docker.io/v1/": {"auth": %q}}}`, login),
	} {
		if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nowhere := fmt.Sprintf("http://127.0.0.1:%d", server.FreePort(t))
	h.env = append(h.env, "HTTP_PROXY="+nowhere, "HTTPS_PROXY="+nowhere)
	docker := dockerIn(t, h, "--config-file", h.path("daemon.json"))
	docker("pull", "busybox:v1")
	if shown.Load() == 0 {
		t.Error("the daemon did not send its credentials: this test proves nothing")
	}
	if got := blobGETs(hub); got != 2 {
		t.Errorf("got %d blobs fetched, want the layer and the configuration once", got)
	}
}

// A site that stands for Docker Hub.
func TestMirrorAsASite(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	want := mirror.Push(t, hub, "library/app", "v1", image(t, false))
	r, h := startMirror(t, hub, "upstream docker.io"), newHome(t)
	h.run(t, "crane", "pull", "--insecure", r.ref("library/app:v1"), h.path("image.tar"))
	h.run(t, "crane", "pull", "--insecure", r.ref("app@"+want.String()), h.path("again.tar"))
	if got := blobGETs(hub); got != layers+1 {
		t.Errorf("got %d blobs fetched, want %d", got, layers+1)
	}
}

// containerd sends ns, and with override_path also a prefix; a push goes to the host that
// hosts.toml names, with this registry's own ns.
func TestMirrorForContainerd(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	mirror.Push(t, hub, "library/busybox", "v1", busybox(t))
	r, h := startMirror(t, hub, ""), newHome(t)
	must := containerdIn(t, h, "", debianContainerd)

	// hosts writes the hosts.toml of a registry. A miss must not leave this machine.
	nowhere := fmt.Sprintf("http://127.0.0.1:%d", server.FreePort(t))
	hosts := func(name, url, options string) string {
		t.Helper()
		dir := h.path("hosts-" + name)
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("server = %q\n[host.%q]\n%s\n", nowhere, url, options)
		if err := os.WriteFile(filepath.Join(dir, name, "hosts.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	const ref, ours = "docker.io/library/busybox:v1", "registry.test/team/busybox:v1"
	for _, row := range []struct{ name, text string }{{"ns", lines(t, r.Server, "containerd")}, {"ns and prefix", form(t, "containerd, by path", r.Host)}} {
		dir := hosts("docker.io", r.URL, "")
		if err := os.WriteFile(filepath.Join(dir, "docker.io", "hosts.toml"), []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		must("images", "pull", "--hosts-dir", dir, "--snapshotter", "native", ref)
		if got := must("run", "--rm", "--snapshotter", "native", ref, "hello"+strings.ReplaceAll(row.name, " ", "")); got != "hello\n" {
			t.Errorf("%s: container printed %q, want hello", row.name, got)
		}
		if row.name == "ns" {
			must("images", "tag", ref, ours)
		}
		must("images", "remove", "--sync", ref)
	}
	if got := blobGETs(hub); got != 2 {
		t.Errorf("got %d blobs fetched, want the layer and the configuration once", got)
	}
	dir := hosts("registry.test", r.URL, `capabilities = ["pull", "resolve", "push"]`)
	must("images", "push", "--hosts-dir", dir, ours)
	must("images", "remove", "--sync", ours)
	must("images", "pull", "--hosts-dir", dir, "--snapshotter", "native", ours)
	if got := must("run", "--rm", "--snapshotter", "native", ours, "ours"); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
}
