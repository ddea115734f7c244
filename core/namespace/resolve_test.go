package namespace

import (
	"errors"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/wire"
)

func TestResolve(t *testing.T) {
	open := Site{Host: "localhost:5050", Hosts: []string{"registry.example.com"}}
	team := Site{Host: "localhost:5050", Private: globs.Globs{"team/**"}}
	for _, row := range []struct {
		name    string
		site    Site
		request wire.Request
		want    *core.Error
	}{
		// Without private globs every name is ours.
		{"any name", open, wire.Request{Kind: wire.Manifest, Name: "library/nginx"}, nil},
		{"a push to any name", open, wire.Request{Kind: wire.PutManifest, Name: "library/nginx"}, nil},

		// Clients that were told of a mirror name the registry that they mean. Naming
		// us is right for reads and for writes, however they write the host.
		{"ns of the host called", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "localhost:5050"}, nil},
		{"ns in another case", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "Registry.Example.COM"}, nil},
		{"ns with the implied port", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "registry.example.com:443"}, nil},
		{"ns with a final dot", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "registry.example.com."}, nil},
		{"ns of ourselves on a push", open, wire.Request{Kind: wire.StartUpload, Name: "a", NS: "registry.example.com"}, nil},
		{"ns of ourselves on the catalog", open, wire.Request{Kind: wire.Catalog, NS: "registry.example.com"}, nil},
		{"ns with another port", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "registry.example.com:5050"}, core.ErrNameUnknown},
		{"ns of somebody else", open, wire.Request{Kind: wire.Manifest, Name: "a", NS: "docker.io"}, core.ErrNameUnknown},
		{"ns of somebody else on a push", open, wire.Request{Kind: wire.PutManifest, Name: "a", NS: "docker.io"}, core.ErrNameUnknown},
		{"ns of somebody else on a ping", open, wire.Request{Kind: wire.Ping, NS: "docker.io"}, core.ErrNameUnknown},

		// With globs, the rest belongs to nobody.
		{"a private name", team, wire.Request{Kind: wire.Manifest, Name: "team/app"}, nil},
		{"the root of the globs", team, wire.Request{Kind: wire.Manifest, Name: "team"}, nil},
		{"a read of nobody's name", team, wire.Request{Kind: wire.Manifest, Name: "teammate/app"}, core.ErrNameUnknown},
		{"a list of nobody's tags", team, wire.Request{Kind: wire.ListTags, Name: "other"}, core.ErrNameUnknown},
		{"a push to nobody's name", team, wire.Request{Kind: wire.PutManifest, Name: "other/app"}, core.ErrDenied},
		{"an upload to nobody's name", team, wire.Request{Kind: wire.StartUpload, Name: "other/app"}, core.ErrDenied},
		{"a delete of nobody's name", team, wire.Request{Kind: wire.DeleteManifest, Name: "other/app"}, core.ErrDenied},
		{"the catalog", team, wire.Request{Kind: wire.Catalog}, nil},
		{"a ping", team, wire.Request{Kind: wire.Ping}, nil},
		{"a mount from nobody's name", team, wire.Request{Kind: wire.StartUpload, Name: "team/app", From: "other"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.request.Repo = row.request.Name // as Parse leaves it
			got, err := Resolve(row.request, row.site)
			if row.want == nil && err != nil || row.want != nil && !errors.Is(err, row.want) {
				t.Fatalf("got error %v, want %v", err, row.want)
			}
			if got.Repo != row.request.Name {
				t.Errorf("got canonical name %q, want %q", got.Repo, row.request.Name)
			}
		})
	}
}

func TestResolveToMirrors(t *testing.T) {
	site := Site{
		Host: "registry.example.com", Private: globs.Globs{"team/**"},
		Mirrors: []string{"docker.io", "ghcr.io"},
	}
	fallback, hub, ghcr, open := site, site, site, site
	fallback.Fallback = "docker.io"
	hub.Upstream, ghcr.Upstream = "docker.io", "ghcr.io"
	open.Private = nil
	noHub := open
	noHub.Mirrors = []string{"ghcr.io"}
	long := strings.Repeat("a", 250)
	for _, row := range []struct {
		name           string
		site           Site
		kind           wire.Kind
		repo, ns, want string
		err            *core.Error
	}{
		// One repository has one name, however it is asked for.
		{"a prefix", site, wire.Manifest, "ghcr.io/a/b", "", "ghcr.io/a/b", nil},
		{"a prefix of Docker Hub", site, wire.Manifest, "docker.io/library/nginx", "", "docker.io/library/nginx", nil},
		{"a short name of Docker Hub", site, wire.Manifest, "docker.io/nginx", "", "docker.io/library/nginx", nil},
		{"ns", site, wire.Manifest, "library/nginx", "docker.io", "docker.io/library/nginx", nil},
		{"ns and a short name", site, wire.Blob, "nginx", "docker.io", "docker.io/library/nginx", nil},
		{"ns in capitals", site, wire.Manifest, "a/b", "GHCR.io", "ghcr.io/a/b", nil},
		{"ns and prefix at once", site, wire.Manifest, "docker.io/library/nginx", "docker.io", "docker.io/library/nginx", nil},
		{"ns and prefix and a short name", site, wire.Manifest, "docker.io/nginx", "docker.io", "docker.io/library/nginx", nil},
		{"a short name elsewhere", site, wire.Manifest, "ghcr.io/nginx", "", "ghcr.io/nginx", nil},
		{"a list", site, wire.ListTags, "docker.io/nginx", "", "docker.io/library/nginx", nil},

		// Docker Hub has two more hosts, and clients that write them as they are.
		{"ns of Docker Hub's index", site, wire.Manifest, "nginx", "index.docker.io", "docker.io/library/nginx", nil},
		{"ns of Docker Hub's API", site, wire.Blob, "library/nginx", "Registry-1.Docker.io:443", "docker.io/library/nginx", nil},
		{"a prefix of Docker Hub's index", site, wire.Manifest, "index.docker.io/nginx", "", "docker.io/library/nginx", nil},
		{"a prefix of Docker Hub's API", fallback, wire.Manifest, "registry-1.docker.io/a/b", "", "docker.io/a/b", nil},
		{"ns and prefix of Docker Hub's index", site, wire.Manifest, "index.docker.io/library/nginx", "index.docker.io", "docker.io/library/nginx", nil},
		{"ns of Docker Hub's index, prefix of Docker Hub", hub, wire.Manifest, "docker.io/nginx", "index.docker.io", "docker.io/library/nginx", nil},
		{"a push by Docker Hub's index", open, wire.PutManifest, "index.docker.io/a/b", "", "docker.io/a/b", nil},
		{"ns of another registry, which has such a name", site, wire.Manifest, "index.docker.io/a", "ghcr.io", "ghcr.io/index.docker.io/a", nil},
		{"Docker Hub's index itself", site, wire.Manifest, "index.docker.io", "", "", core.ErrNameUnknown},
		{"ns of Docker Hub's index, without that mirror", noHub, wire.Manifest, "nginx", "index.docker.io", "", core.ErrNameUnknown},
		{"a name like Docker Hub's index, without that mirror", noHub, wire.PutManifest, "index.docker.io/a", "", "index.docker.io/a", nil},

		// ns says which registry is meant, also for a name that we keep ourselves.
		{"a private name with ns", site, wire.Manifest, "team/app", "docker.io", "docker.io/team/app", nil},
		{"a private name with ns of ourselves", site, wire.Manifest, "team/app", "registry.example.com", "team/app", nil},
		{"a prefix with ns of ourselves", site, wire.Manifest, "docker.io/nginx", "registry.example.com", "docker.io/library/nginx", nil},
		{"ns that is not configured", site, wire.Manifest, "a/b", "quay.io", "", core.ErrNameUnknown},
		{"ns that is not configured, on a ping", site, wire.Ping, "", "quay.io", "", core.ErrNameUnknown},
		{"a prefix that is not configured", site, wire.Manifest, "quay.io/a/b", "", "", core.ErrNameUnknown},
		{"the mirror itself", site, wire.Manifest, "docker.io", "", "", core.ErrNameUnknown},
		{"something that begins like a mirror", site, wire.Manifest, "docker.iox/a", "", "", core.ErrNameUnknown},
		{"nobody's name", site, wire.Manifest, "library/nginx", "", "", core.ErrNameUnknown},
		{"a push to nobody's name", site, wire.PutManifest, "library/nginx", "", "", core.ErrDenied},

		// A site with a fallback: what is private stays so.
		{"a fallback", fallback, wire.Manifest, "library/nginx", "", "docker.io/library/nginx", nil},
		{"a fallback and a short name", fallback, wire.Manifest, "nginx", "", "docker.io/library/nginx", nil},
		{"a fallback and ns of ourselves", fallback, wire.Manifest, "library/nginx", "registry.example.com", "docker.io/library/nginx", nil},
		{"a private name beside a fallback", fallback, wire.Manifest, "team/app", "", "team/app", nil},
		{"a push of a private name beside a fallback", fallback, wire.PutManifest, "team/app", "", "team/app", nil},
		{"a prefix beside a fallback", fallback, wire.Manifest, "ghcr.io/a/b", "", "ghcr.io/a/b", nil},
		// The mirror refuses it, with a sentence.
		{"a push to a fallback", fallback, wire.PutManifest, "other/app", "", "docker.io/other/app", nil},

		// A site that stands for one upstream.
		{"an upstream site", hub, wire.Manifest, "nginx", "", "docker.io/library/nginx", nil},
		{"an upstream site and its prefix", hub, wire.Manifest, "docker.io/nginx", "", "docker.io/library/nginx", nil},
		{"an upstream site and its ns", hub, wire.Manifest, "library/nginx", "docker.io", "docker.io/library/nginx", nil},
		{"an upstream site and another ns", hub, wire.Manifest, "a/b", "ghcr.io", "ghcr.io/a/b", nil},
		{"an upstream site of another registry", ghcr, wire.Manifest, "nginx", "", "ghcr.io/nginx", nil},
		{"an upstream site and a private name", ghcr, wire.Manifest, "team/app", "", "ghcr.io/team/app", nil},

		// Without private globs everything is ours but what mirrors have.
		{"any name", open, wire.PutManifest, "a/b", "", "a/b", nil},
		{"a mirror's", open, wire.PutManifest, "ghcr.io/a/b", "", "ghcr.io/a/b", nil},

		{"a name that is too long with its prefix", site, wire.Manifest, long, "docker.io", "docker.io/library/" + long, core.ErrNameInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Resolve(wire.Request{Kind: row.kind, Name: row.repo, Repo: row.repo, NS: row.ns}, row.site)
			if row.err == nil && err != nil || row.err != nil && !errors.Is(err, row.err) {
				t.Fatalf("got error %v, want %v", err, row.err)
			}
			if got.Name != row.repo || row.want != "" && got.Repo != row.want {
				t.Errorf("got %q for %q, want %q", got.Repo, got.Name, row.want)
			}
		})
	}
	got, err := Resolve(wire.Request{Kind: wire.StartUpload, Name: "team/app", Repo: "team/app", From: "docker.io/nginx"}, site)
	if err != nil || got.From != "docker.io/library/nginx" {
		t.Errorf("mount from a mirror: got %q, %v; want its canonical name", got.From, err)
	}
}

func TestResolveSaysWhichMirrorAndHowItWasNamed(t *testing.T) {
	site := Site{Host: "registry.example.com", Private: globs.Globs{"team/**"}, Mirrors: []string{"docker.io", "quay.io"}}
	stands, falls := site, site
	stands.Upstream, falls.Fallback = "docker.io", "docker.io"
	for _, row := range []struct {
		site     Site
		name, ns string
		mirror   string
		form     Form
	}{
		{site, "docker.io/library/nginx", "", "docker.io", ByPrefix},
		{site, "library/nginx", "docker.io", "docker.io", ByNS},
		{site, "docker.io/library/nginx", "docker.io", "docker.io", ByNS},
		{site, "library/nginx", "index.docker.io", "docker.io", ByNS},
		{site, "index.docker.io/library/nginx", "", "docker.io", ByPrefix},
		{site, "docker.io/library/nginx", "registry.example.com", "docker.io", ByPrefix},
		{stands, "library/nginx", "", "docker.io", BySite},
		{stands, "quay.io/a/b", "", "quay.io", ByPrefix},
		{falls, "library/nginx", "", "docker.io", ByFallback},
		{falls, "library/nginx", "quay.io", "quay.io", ByNS},
		// Names that this registry keeps, and names that nobody has, belong to no mirror.
		{falls, "team/app", "", "", ""},
		{site, "team/app", "registry.example.com", "", ""},
		{site, "other/app", "", "", ""},
		{site, "docker.io", "", "", ""},
		{site, "library/nginx", "ghcr.io", "", ""},
		{site, strings.Repeat("a", 250), "docker.io", "", ""},
	} {
		got, _ := Resolve(wire.Request{Kind: wire.Manifest, Name: row.name, Repo: row.name, NS: row.ns}, row.site)
		if got.Mirror != row.mirror || got.Form != row.form {
			t.Errorf("%s?ns=%s: got %q by %q, want %q by %q", row.name, row.ns, got.Mirror, got.Form, row.mirror, row.form)
		}
		if owner, ok := row.site.Owner(got.Repo); ok && row.mirror != "" && owner != row.mirror {
			t.Errorf("%s belongs to %q, and was resolved to %q", got.Repo, owner, row.mirror)
		}
	}
}

func TestResolveTellsWhereToPush(t *testing.T) {
	site := Site{Private: globs.Globs{"team/**", "tools/*"}}
	_, err := Resolve(wire.Request{Kind: wire.PutManifest, Name: "other"}, site)
	for _, want := range []string{"other", "team/**", "tools/*"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	_, err = Resolve(wire.Request{Kind: wire.Manifest, Name: "a", NS: strings.Repeat("x", 1000)}, site)
	if err == nil || len(err.Error()) > 250 {
		t.Errorf("a long ns came back whole: %v", err)
	}
}

func TestCanonicalHost(t *testing.T) {
	for host, want := range map[string]string{
		"Example.COM":         "example.com",
		"example.com:443":     "example.com",
		"example.com:80":      "example.com",
		"example.com:5050":    "example.com:5050",
		"127.0.0.1:5050":      "127.0.0.1:5050",
		"[::1]:443":           "[::1]",
		"[::1]":               "[::1]",
		"[::1]:5050":          "[::1]:5050",
		"example.com.":        "example.com",
		"not a host:at:all:1": "not a host:at:all:1",
	} {
		if got := CanonicalHost(host); got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}
