package clients

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/distribution"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// The upstreams here are distribution's registry, which most upstreams run. Its own checks
// decide which caller sees what, and the mirror must come to the same result.

// mirrorOf is the block of a mirror of up with the account's credentials, whose secret is in
// the variable. Its timeouts allow for a busy machine.
func mirrorOf(name string, up *distribution.Registry, variable string, options ...string) string {
	text := fmt.Sprintf("mirror %s {\nupstream %s\ncredentials %s {env.%s}\nhead_timeout 1m\nconnect_timeout 1m\nstall_timeout 2m\n",
		name, up.URL, distribution.User, variable)
	if up.TokenHost != "" {
		text += "allow_private " + up.TokenHost + "\n"
	}
	return text + strings.Join(options, "\n") + "\n}\n"
}

// inFrontOf is a registry with the mirrors, whose policy lets every caller read and fetch.
func inFrontOf(t *testing.T, mirrors string) registry {
	t.Helper()
	t.Setenv("UPSTREAM_SECRET", distribution.Secret)
	t.Setenv("UPSTREAM_WRONG", "wrong")
	s := server.Start(t, server.Options{Caddyfile: readers(mirrors)})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	return registry{s, c}
}

func readers(mirrors string) string {
	return strings.Replace(mirror.Options{OCI: mirrors}.Caddyfile(), "allow anonymous *", "allow anonymous read fetch", 1)
}

// push is skopeo's to the upstream, as its account. Crane would not go to a token
// server on another port of loopback.
func push(t *testing.T, up *distribution.Registry, dir, name string) {
	t.Helper()
	newHome(t).run(t, "skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false",
		"--dest-creds", distribution.User+":"+distribution.Secret, "oci:"+dir+":v1", "docker://"+up.Host+"/"+name)
}

// as is a home that is logged in at a registry.
func (h home) as(t *testing.T, host string, who caller) home {
	t.Helper()
	h = h.fresh(t)
	if who != (caller{}) {
		h.run(t, "crane", "auth", "login", host, "-u", who.user, "-p", who.secret)
	}
	return h
}

// digestAt returns the digest that crane resolves a name to.
func digestAt(t *testing.T, h home, ref string) digest.Digest {
	t.Helper()
	return digest.Digest(strings.TrimSpace(h.run(t, "crane", "digest", ref)))
}

// Both ways in which the upstream authenticates callers, and the rights in each.
func TestMirrorOfDistributionKeepsItsRights(t *testing.T) {
	for _, auth := range []struct {
		name string
		auth distribution.Auth
		// public reports whether the upstream serves public/app to anonymous callers.
		public bool
	}{{"passwords", distribution.Passwords, false}, {"tokens", distribution.Tokens, true}} {
		t.Run(auth.name, func(t *testing.T) {
			up := distribution.Start(t, auth.auth)
			images := map[string]digest.Digest{}
			for _, repo := range []string{"public/app", "team/app", "shown/app"} {
				image := image(t, true)
				images[repo] = digestOf(t, image)
				push(t, up, writeLayout(t, image), repo+":v1")
			}
			r := inFrontOf(t, mirrorOf("up.test", up, "UPSTREAM_SECRET", "private team/** to user ci", "private shown/** to anonymous"))
			h := newHome(t)
			ciSecret, _ := r.Key(t, "ci", "workers")
			otherSecret, _ := r.Key(t, "other", "workers")
			nobody, ci, other := caller{}, caller{"ci", ciSecret}, caller{"other", otherSecret}
			// Cold and held: the second time everything is stored.
			for _, when := range []string{"cold", "held"} {
				for _, row := range []struct {
					who  string
					as   caller
					repo string
					may  bool
				}{
					{"anonymous", nobody, "team/app", false},
					{"another", other, "team/app", false},
					{"a named caller", ci, "team/app", true},
					{"anonymous after that", nobody, "team/app", false},
					{"anonymous", nobody, "public/app", auth.public},
					{"another", other, "public/app", auth.public},
					{"anonymous", nobody, "shown/app", true},
				} {
					home := h.as(t, r.Host, row.as)
					ref := r.ref("up.test/" + row.repo + ":v1")
					_, craned := home.try(t, "crane", "pull", "--insecure", ref, home.path("image.tar"))
					args := []string{"copy", "--src-tls-verify=false", "docker://" + ref, "dir:" + home.path("out")}
					if row.as != nobody {
						args = append(args, "--src-creds", row.as.user+":"+row.as.secret)
					}
					_, copied := home.try(t, "skopeo", args...)
					if (craned == nil) != row.may || (copied == nil) != row.may {
						t.Errorf("%s, %s, %s: crane %v, skopeo %v, want it served: %t", when, row.who, row.repo, craned, copied, row.may)
					}
					if row.may {
						if got := digestAt(t, home, ref); got != images[row.repo] {
							t.Errorf("%s, %s: got %s, want %s", when, row.repo, got, images[row.repo])
						}
					}
				}
			}
			// Requests for missing content also go to the upstream: a caller with an identity
			// cannot distinguish a hidden repository from a missing one.
			c := client.New(r.URL).Login(other.user, other.secret)
			defer c.Close()
			for _, repo := range []string{"team/app", "team/none"} {
				if _, err := c.Request(t.Context(), http.MethodGet, "/v2/up.test/"+repo+"/manifests/v1", nil, nil, http.StatusNotFound); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Credentials that the upstream rejects have no rights: public content is served, and the log
// explains why the rest is not.
func TestMirrorOfDistributionWithWrongCredentials(t *testing.T) {
	up := distribution.Start(t, distribution.Tokens)
	dir := writeLayout(t, image(t, true))
	push(t, up, dir, "public/app:v1")
	push(t, up, dir, "public/other:v1")
	push(t, up, dir, "team/app:v1")
	r := inFrontOf(t, mirrorOf("up.test", up, "UPSTREAM_WRONG", "private ** to anonymous", "ttl 1ms"))
	h := newHome(t)
	for range 2 {
		for _, repo := range []string{"public/app", "public/other"} {
			h.run(t, "crane", "pull", "--insecure", r.ref("up.test/"+repo+":v1"), h.path("image.tar"))
		}
	}
	if _, err := h.try(t, "crane", "pull", "--insecure", r.ref("up.test/team/app:v1"), h.path("image.tar")); err == nil {
		t.Error("hidden content of the upstream was served without valid credentials")
	}
	if said, err := r.Said("refuses the stored credentials"); err != nil || said != 1 {
		t.Errorf("the log has %d messages about refused credentials, want one: %v", said, err)
	}
}

// Later changes upstream: a tag moves, an artifact is attached, the upstream stops.
// Distribution has no referrers API, so the artifact is under a tag.
func TestMirrorOfDistributionFollowsIt(t *testing.T) {
	for _, auth := range []distribution.Auth{distribution.Passwords, distribution.Tokens} {
		up := distribution.Start(t, auth)
		first, second := image(t, true), image(t, true)
		push(t, up, writeLayout(t, first), "team/app:v1")
		text := func(ttl string) string {
			return mirrorOf("up.test", up, "UPSTREAM_SECRET", "private ** to anonymous", "ttl "+ttl)
		}
		r := inFrontOf(t, text("1h"))
		h := newHome(t)
		ref := r.ref("up.test/team/app:v1")
		pull := func() {
			t.Helper()
			h.run(t, "crane", "pull", "--insecure", ref, h.path("image.tar"))
		}
		pull()

		push(t, up, writeLayout(t, second), "team/app:v1")
		if got := digestAt(t, h, ref); got != digestOf(t, first) {
			t.Errorf("within ttl: got %s, want %s as before", got, digestOf(t, first))
		}
		if err := r.Configure(readers(text("1ms"))); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context(), t); err != nil {
			t.Fatal(err)
		}
		if got := digestAt(t, h, ref); got != digestOf(t, second) {
			t.Errorf("after ttl: got %s, want %s, which the tag names now", got, digestOf(t, second))
		}
		pull()

		attach := newHome(t)
		if err := os.WriteFile(attach.path("sbom.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		attach.run(t, "oras", "attach", "--plain-http", "--username", distribution.User, "--password", distribution.Secret,
			"--artifact-type", "application/vnd.example.sbom", up.Host+"/team/app:v1", "sbom.json:application/json")
		discovers := func() string {
			t.Helper()
			return h.run(t, "oras", "discover", "--plain-http", "--format", "json", ref)
		}
		if found := discovers(); !strings.Contains(found, "application/vnd.example.sbom") {
			t.Errorf("oras discovers through the mirror: %s", found)
		}

		up.Stop()
		if got := digestAt(t, h, ref); got != digestOf(t, second) {
			t.Errorf("with the upstream gone: got %s, want %s", got, digestOf(t, second))
		}
		pull()
		if found := discovers(); !strings.Contains(found, "application/vnd.example.sbom") {
			t.Errorf("with the upstream gone oras discovers: %s", found)
		}
	}
}
