package clients

import (
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// messages is a registry with two mirrors whose upstreams are down, for callers that have a
// key.
func messages(t *testing.T) (r registry, h home, secret string) {
	t.Helper()
	away := httptest.NewServer(nil)
	away.Close() // no server listens there from now on
	s := server.Start(t, server.Options{Caddyfile: fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		url https://registry.example.org
		private team/**
		mirror docker.io {
			upstream %[1]s
		}
		mirror ghcr.io {
			upstream %[1]s
		}
		policy {
			allow anonymous read fetch
			allow group builders read fetch create
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, away.URL)})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	secret, _ = s.Key(t, "ci", "builders")
	return registry{s, c}, newHome(t), secret
}

// A push to a mirror and a misspelt name are refused with a reason that users see, also while
// the upstream is down: clients first check what exists.
func TestClientsShowWhyANameIsRefused(t *testing.T) {
	r, h, secret := messages(t)
	h.run(t, "crane", "auth", "login", r.Host, "--username", "ci", "--password", secret)
	h.run(t, "skopeo", "login", "--tls-verify=false", "--username", "ci", "--password", secret, r.Host)
	dir, layout := "dir:"+writeDirectory(t, image(t, true)), writeLayout(t, image(t, true))
	const cache = "docker.io is a pull-through cache, to which nothing can be pushed; push to team/**"
	const misspelt = "no mirror of docker.oi; configured: docker.io, ghcr.io; did you mean docker.io?"
	for _, row := range []struct {
		name, want string
		args       []string
	}{
		{"skopeo pushes to a mirror", cache, []string{"skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", dir, "docker://" + r.ref("docker.io/library/app:v1")}},
		{"crane pushes to a mirror", cache, []string{"crane", "push", "--insecure", layout, r.ref("docker.io/library/app:v1")}},
		{"skopeo pushes to a misspelt mirror", misspelt, []string{"skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", dir, "docker://" + r.ref("docker.oi/library/app:v1")}},
		{"crane pushes to a misspelt mirror", misspelt, []string{"crane", "push", "--insecure", layout, r.ref("docker.oi/library/app:v1")}},
		{"skopeo pulls from a misspelt mirror", misspelt, []string{"skopeo", "inspect", "--tls-verify=false", "docker://" + r.ref("docker.oi/library/app:v1")}},
		{"crane pulls from a misspelt mirror", misspelt, []string{"crane", "manifest", "--insecure", r.ref("docker.oi/library/app:v1")}},
	} {
		out, err := h.try(t, row.args[0], row.args[1:]...)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v: %s, want %q", row.name, err, out, row.want)
		}
	}
	// A pull never gets "not found" while the upstream cannot be reached.
	out, err := h.try(t, "crane", "manifest", "--insecure", r.ref("docker.io/library/app:v1"))
	if err == nil || strings.Contains(err.Error(), "UNKNOWN") {
		t.Errorf("a pull: got %v: %s, want trouble with the upstream", err, out)
	}
}

// Over plain HTTP from another machine no credentials are taken. crane shows why; the log
// has it once, for clients that show nothing.
func TestCredentialsOverPlainHTTPAreRefusedWithAReason(t *testing.T) {
	r, h, secret := messages(t)
	target, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	// A forwarded request may come from another machine.
	afar := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
		p.SetXForwarded()
	}})
	t.Cleanup(afar.Close)
	host := strings.TrimPrefix(afar.URL, "http://")
	h.run(t, "crane", "auth", "login", host, "--username", "ci", "--password", secret)
	const want = "use https://registry.example.org, or set insecure_credentials in the site's oci_registry"
	for range 2 {
		out, err := h.try(t, "crane", "push", "--insecure", writeLayout(t, image(t, true)), host+"/team/app:v1")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("crane: got %v: %s, want %q", err, out, want)
		}
	}
	if out, err := h.try(t, "skopeo", "login", "--tls-verify=false", "--username", "ci", "--password", secret, host); err == nil {
		t.Errorf("skopeo logged in: %s", out)
	}
	if n, err := r.Said("credentials were sent over plain HTTP"); err != nil || n != 1 {
		t.Errorf("the log has it %d times (%v), want once", n, err)
	}
	if n, err := r.Said(`"remedy":"` + want); err != nil || n == 0 {
		t.Errorf("the log has no remedy (%v)", err)
	}
}
