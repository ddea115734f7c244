package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// tiers is the policy in these tests: every caller pulls, a workload creates new tags, and an
// administrator does the rest. Internal images can be pulled only with a login.
const tiers = `{
	skip_install_trust
	auto_https disable_redirects
	oci {
		storage file {$REGISTRY_DATA}
		policy {
			allow anonymous read fetch
			deny anonymous read on internal/**
			allow group artifact-workloads read fetch create
			allow group admins *
		}
	}
}

https://127.0.0.1:{$REGISTRY_PORT} {
	tls internal
	oci_registry
}
`

// caller is a client's identity. The zero value is anonymous.
type caller struct{ user, secret string }

// signing is one client's way to act as a caller.
type signing struct {
	// login keeps credentials for a host. nil: the client takes them with each command.
	login  func(t *testing.T, h home, host string, who caller) error
	push   func(t *testing.T, h home, who caller, image v1.Image, ref string) error
	pull   func(t *testing.T, h home, who caller, ref string) error
	remove func(t *testing.T, h home, who caller, ref string, d digest.Digest) error // nil: the client cannot
	// packs means that the client makes its own manifests from what it pushes.
	packs bool
}

// guarded is a registry with tiers, and a client's home that trusts it.
func guarded(t *testing.T) (registry, home) {
	t.Helper()
	s := server.Start(t, server.Options{Caddyfile: tiers, Scheme: "https"})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	h := newHome(t)
	h.env = append(h.env, "SSL_CERT_FILE="+s.Authority())
	return registry{s, c}, h
}

// fresh is the same home without the credentials that were kept in it.
func (h home) fresh(t *testing.T) home {
	t.Helper()
	dir, err := os.MkdirTemp(h.dir, "config")
	if err != nil {
		t.Fatal(err)
	}
	auth := filepath.Join(dir, "auth.json")
	if err := os.WriteFile(auth, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return home{h.dir, append(slices.Clip(h.env),
		"REGISTRY_AUTH_FILE="+auth, "DOCKER_CONFIG="+dir, "REGCTL_CONFIG="+filepath.Join(dir, "regctl.json"))}
}

// unique returns an image that runs and that was never pushed.
func unique(t *testing.T) v1.Image {
	t.Helper()
	layer, err := random.Layer(layerSize, types.DockerLayer)
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(busybox(t), layer)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Clients report a refusal in these words. Containerd reports only that its upload was cut off.
var (
	denied = regexp.MustCompile(`(?i)denied|403|forbidden`)
	wrong  = regexp.MustCompile(`(?i)unauthorized|401|wrong credentials|invalid username|authorization failed|closed pipe`)
)

// keepsTiers runs the client as an anonymous caller, a workload and an administrator.
func (c signing) keepsTiers(t *testing.T, r registry, h home) {
	ciSecret, ciID := r.Key(t, "zot-ci", "artifact-workloads")
	adminSecret, _ := r.Key(t, "erich", "admins")
	nobody, ci, admin := caller{}, caller{"zot-ci", ciSecret}, caller{"erich", adminSecret}
	const repo = "team/app"
	ref := r.ref(repo + ":v1")
	first, other := unique(t), unique(t)

	as := func(who caller, do func(h home) error) error {
		h := h.fresh(t)
		if who != nobody && c.login != nil {
			if err := c.login(t, h, r.Host, who); err != nil {
				return err
			}
		}
		return do(h)
	}
	push := func(who caller, image v1.Image, ref string) error {
		return as(who, func(h home) error { return c.push(t, h, who, image, ref) })
	}
	pull := func(who caller, ref string) error {
		return as(who, func(h home) error { return c.pull(t, h, who, ref) })
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error, says *regexp.Regexp) {
		t.Helper()
		if err == nil || !says.MatchString(err.Error()) {
			t.Errorf("%s: got %v, want it refused as %s", what, err, says)
		}
	}
	names := func() digest.Digest {
		t.Helper()
		d, err := r.verify(t.Context(), repo, "v1")
		must("read the tag", err)
		return d
	}

	must("a workload makes a tag", push(ci, first, ref))
	held := names()
	if want := digestOf(t, first); !c.packs && held != want {
		t.Errorf("tag names %s, want %s", held, want)
	}
	must("anonymous pulls", pull(nobody, ref))
	must("a workload pulls", pull(ci, ref))
	stranger, either := caller{"zot-ci", "not the password"}, regexp.MustCompile(wrong.String()+`|`+denied.String())
	refused("a wrong password pushes", push(stranger, other, r.ref(repo+":v2")), wrong)
	refused("anonymous pushes", push(nobody, other, r.ref(repo+":v2")), either)
	// For a pull of a public image, containerd is not asked for its credentials.
	internal := r.ref("internal/app:v1")
	must("a workload creates an internal image", push(ci, first, internal))
	refused("a wrong password pulls", pull(stranger, internal), wrong)
	refused("anonymous pulls an internal image", pull(nobody, internal), either)
	must("a workload pulls an internal image", pull(ci, internal))
	refused("a workload overwrites", push(ci, other, ref), denied)
	must("a workload repeats its push", push(ci, first, ref))
	if got := names(); got != held {
		t.Errorf("tag names %s, want %s still", got, held)
	}
	must("an administrator overwrites", push(admin, other, ref))
	over := names()
	if over == held {
		t.Error("tag still names the digest from before it was overwritten")
	}
	must("anonymous pulls the new image", pull(nobody, ref))
	if c.remove == nil {
		must("an administrator deletes", client.New(r.URL).Login(admin.user, admin.secret).DeleteManifest(t.Context(), repo, over.String()))
	} else {
		refused("a workload deletes", as(ci, func(h home) error { return c.remove(t, h, ci, ref, over) }), denied)
		if got := names(); got != over {
			t.Errorf("tag names %s, want %s still", got, over)
		}
		must("an administrator deletes", as(admin, func(h home) error { return c.remove(t, h, admin, ref, over) }))
	}
	r.lacks(t, repo, "v1")
	r.Revoke(t, ciID)
	refused("a revoked key pushes", push(ci, first, r.ref(repo+":v3")), wrong)
	r.lacks(t, repo, "v3")
}
