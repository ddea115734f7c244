package upstream_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// other is another registry, which requires a token that its realm gives to every client.
type other struct {
	mu        sync.Mutex // guards what follows
	challenge string
	realm     http.HandlerFunc
	good      string // the token that is taken; empty: any
	blobsAt   string // blobs are redirected there
	asked     []string
}

func (o *other) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	auth := r.Header.Get("Authorization")
	path := r.URL.Path
	if r.URL.Path == "/token" {
		path += " " + strings.Join(r.URL.Query()["scope"], " ")
	}
	o.asked = append(o.asked, strings.TrimSpace(path+" "+auth))
	switch {
	case r.URL.Path == "/token":
		o.realm(w, r)
	case !strings.HasPrefix(auth, "Bearer ") || o.good != "" && auth != "Bearer "+o.good:
		w.Header().Set("WWW-Authenticate", o.challenge)
		w.WriteHeader(http.StatusUnauthorized)
	case strings.Contains(r.URL.Path, "/blobs/") && o.blobsAt != "":
		http.Redirect(w, r, o.blobsAt, http.StatusTemporaryRedirect)
	case strings.Contains(r.URL.Path, "/blobs/"):
		_, _ = w.Write(layer)
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		_, _ = w.Write([]byte(`{"tags":["a"]}`))
	default:
		w.Header().Set("Content-Type", index)
		w.Header().Set("Docker-Content-Digest", string(digest.FromBytes(document)))
		_, _ = w.Write(document)
	}
}

// A vanity host redirects to a registry that wants a token. It gets an anonymous one;
// the vanity host's own credentials and tokens are not shown there.
func TestRedirectToAnotherRegistry(t *testing.T) {
	const ask = `Bearer realm="http://other.test/token",service="s"`
	for _, tt := range []struct {
		name      string
		vanity    upstreamtest.Kind
		user      string
		challenge string
		realm     http.HandlerFunc
		to        string // where to, below /v2/; empty: the same
		scope     string
		err       error
	}{
		{"from an open host", upstreamtest.Open, "", ask, token("t"), "", "repository:library/nginx:pull", nil},
		{"from one that wants a token itself", upstreamtest.Hub, "", ask, token("t"), "", "repository:library/nginx:pull", nil},
		{"from one with credentials", upstreamtest.Basic, "user", ask, token("t"), "", "repository:library/nginx:pull", nil},
		{"from one that has a token for credentials", upstreamtest.GHCR, "user", ask, token("t"), "", "repository:library/nginx:pull", nil},
		{"to another repository", upstreamtest.Open, "", ask, token("t"), "ours/a", "repository:ours/a:pull", nil},
		{"to one that names the scope", upstreamtest.Open, "", ask + `,scope="repository:b:pull x"`, token("t"), "", "repository:b:pull x", nil},
		{"to one with a realm elsewhere", upstreamtest.Open, "", `Bearer realm="http://token.registry.test/token"`, nil, "", "", nil},
		{"to one that asks for Basic, too", upstreamtest.Open, "", `Basic realm="x", ` + ask, token("t"), "", "repository:library/nginx:pull", nil},

		// Its errors are trouble, and not the vanity host's refusal.
		{"to one whose realm refuses", upstreamtest.Open, "", ask, status(403, ""), "", "", upstream.ErrUnavailable},
		{"to one whose realm wants a login", upstreamtest.Open, "", ask, status(401, ""), "", "", upstream.ErrUnavailable},
		{"to one whose realm is not there", upstreamtest.Open, "", ask, status(404, ""), "", "", upstream.ErrUnavailable},
		{"to one whose realm shows a page", upstreamtest.Open, "", ask, status(200, "<html>"), "", "", upstream.ErrUnavailable},
		{"to one whose realm is limited", upstreamtest.Open, "", ask, status(429, ""), "", "", upstream.ErrRateLimited},
		{"to one whose token is not taken", upstreamtest.Open, "", ask, token("wrong"), "", "", upstream.ErrUnavailable},
		{"to one that wants a login", upstreamtest.Basic, "user", `Basic realm="x"`, nil, "", "", upstream.ErrUnavailable},
		{"to one without a challenge", upstreamtest.Open, "", ``, nil, "", "", upstream.ErrUnavailable},
		{"to one with a private realm", upstreamtest.Open, "", `Bearer realm="http://169.254.169.254/token"`, nil, "", "", upstream.ErrUnavailable},
		{"to one with a realm of another kind", upstreamtest.Open, "", `Bearer realm="file:///etc/passwd"`, nil, "", "", upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.vanity, with(tt.user, map[bool]string{true: "secret"}[tt.user != ""]), func(t *testing.T, f *fixture, n *upstreamtest.Network) {
				o := &other{challenge: tt.challenge, realm: tt.realm, good: "t"}
				if tt.realm == nil && tt.err == nil {
					o.good = ""
					serve(t, n, "token.registry.test:80", token("any"))
				}
				serve(t, n, "other.test:80", o)
				// Not before the vanity host has identified the client.
				if tt.vanity != upstreamtest.Open {
					if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
						t.Fatal(err)
					}
				}
				to := "http://other.test/v2/" + repo
				if tt.to != "" {
					to = "http://other.test/v2/" + tt.to
				}
				for _, path := range []string{"/manifests/", "/blobs/", "/tags/"} {
					rest := map[string]string{"/manifests/": "latest", "/blobs/": string(f.blob), "/tags/": "list"}[path]
					f.Fault(upstreamtest.Fault{Host: "registry", Path: path, Status: 307, Header: header("Location", to+path+rest)})
				}
				m, err := f.client.Manifest(t.Context(), repo, tag)
				if !errors.Is(err, tt.err) || err == nil && string(m.Bytes) != string(document) {
					t.Errorf("manifest: got %q, %v, want %v", m.Bytes, err, tt.err)
				}
				if got, _, err := readBlob(t.Context(), f.client, f.blob, 0); !errors.Is(err, tt.err) || err == nil && len(got) != len(layer) {
					t.Errorf("blob: got %d bytes, %v, want %v", len(got), err, tt.err)
				}
				if got, err := f.client.Tags(t.Context(), repo); !errors.Is(err, tt.err) || err == nil && len(got) != 1 {
					t.Errorf("tags: got %q, %v, want %v", got, err, tt.err)
				}
				tokens := 0
				for _, asked := range o.asked {
					if strings.Contains(asked, "Basic") {
						t.Errorf("the other registry saw credentials: %s", asked)
					}
					if path, scope, _ := strings.Cut(asked, " "); path == "/token" {
						if tokens++; tt.scope != "" && scope != tt.scope && strings.Join(strings.Fields(scope), " ") != tt.scope {
							t.Errorf("a token was asked for %q, want %q", scope, tt.scope)
						}
					}
				}
				if tt.err == nil && tt.scope != "" && tokens != 1 {
					t.Errorf("%d tokens were asked for, want 1: %q", tokens, o.asked)
				}
			})
		})
	}
}

// The token of another registry does not follow to where that redirects.
func TestTokenOfAnotherRegistryStaysThere(t *testing.T) {
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		var seen string
		serve(t, n, "cdn.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("Authorization")
			_, _ = w.Write(layer)
		}))
		o := &other{challenge: `Bearer realm="http://other.test/token"`, realm: token("t"), blobsAt: "http://cdn.test/x"}
		serve(t, n, "other.test:80", o)
		f.Fault(upstreamtest.Fault{Path: "/blobs/", Status: 307, Header: header("Location", "http://other.test/v2/a/blobs/x")})
		if _, _, err := readBlob(t.Context(), f.client, f.blob, 0); err != nil || seen != "" {
			t.Errorf("got %v and %q at the storage, want neither", err, seen)
		}
	})
}

// A token that the other registry no longer takes is replaced by the fresh try.
func TestTokenOfAnotherRegistryIsRenewed(t *testing.T) {
	bubble(t, upstreamtest.Open, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		o := &other{challenge: `Bearer realm="http://other.test/token"`, realm: token("one"), good: "one"}
		serve(t, n, "other.test:80", o)
		f.Fault(upstreamtest.Fault{Path: "/manifests/", Status: 307, Header: header("Location", "http://other.test/v2/a/manifests/x")})
		if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		o.realm, o.good = token("two"), "two"
		o.mu.Unlock()
		if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
			t.Errorf("got %v, want none", err)
		}
	})
}
