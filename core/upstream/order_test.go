package upstream_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// The next URL is tried after trouble, but never after any host of the first one has refused
// or not found the content: it may be a public registry, where anyone can take the name.
func TestNextURLIsAskedAfterTroubleAlone(t *testing.T) {
	const challenge = `Bearer realm="http://realm.test/token"`
	wants := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer t" {
			return false
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	places := map[string]func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc){
		"by the registry": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", answer)
		},
		"by its realm": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wants(w, r) }))
			serve(t, n, "realm.test:80", answer)
		},
		"after a token": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !wants(w, r) {
					answer(w, r)
				}
			}))
			serve(t, n, "realm.test:80", token("t"))
		},
		"after a redirect": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", http.RedirectHandler("http://away.test/x", http.StatusTemporaryRedirect))
			serve(t, n, "away.test:80", answer)
		},
		"by another registry": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", http.RedirectHandler("http://away.test/v2/a/manifests/b", http.StatusTemporaryRedirect))
			serve(t, n, "away.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !wants(w, r) {
					answer(w, r)
				}
			}))
			serve(t, n, "realm.test:80", token("t"))
		},
		"by another registry's realm": func(n *upstreamtest.Network, t *testing.T, answer http.HandlerFunc) {
			serve(t, n, "registry.test:80", http.RedirectHandler("http://away.test/v2/a/manifests/b", http.StatusTemporaryRedirect))
			serve(t, n, "away.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wants(w, r) }))
			serve(t, n, "realm.test:80", answer)
		},
	}
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for place, set := range places {
		for name, row := range map[string]struct {
			answer http.HandlerFunc
			asked  bool
		}{
			"401": {status(401, ""), false}, "403": {status(403, "<html>"), false}, "404": {status(404, "<html>"), false}, "410": {status(410, ""), false},
			"400": {status(400, ""), true}, "418": {status(418, ""), true}, "429": {status(429, ""), true}, "500": {status(500, ""), true},
			"502": {status(502, ""), true}, "503": {status(503, ""), true}, "a page": {status(200, "<html>"), true}, "nothing": {status(200, ""), true}, "a reset": {reset, true},
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				second := 0
				ask := map[string]func(ctx context.Context, c *upstream.Client) error{
					"head":     func(ctx context.Context, c *upstream.Client) error { _, err := c.Head(ctx, repo, tag); return err },
					"manifest": func(ctx context.Context, c *upstream.Client) error { _, err := c.Manifest(ctx, repo, tag); return err },
					"by digest": func(ctx context.Context, c *upstream.Client) error {
						_, err := c.Manifest(ctx, repo, core.Reference{Digest: digest.FromBytes(document)})
						return err
					},
					"tags": func(ctx context.Context, c *upstream.Client) error { _, err := c.Tags(ctx, repo); return err },
					"attest": func(ctx context.Context, c *upstream.Client) error {
						_, err := c.Attest(ctx, repo, digest.FromBytes(layer), -1)
						return err
					},
					"blob": func(ctx context.Context, c *upstream.Client) error {
						_, _, err := readBlob(ctx, c, digest.FromBytes(layer), 0)
						return err
					},
					"referrers": func(ctx context.Context, c *upstream.Client) error {
						_, err := c.Referrers(ctx, repo, digest.FromBytes(layer))
						return err
					},
				}
				for kind, question := range ask {
					bubble(t, upstreamtest.Open, func(c *upstream.Config) { c.URLs = append(c.URLs, "http://second.test") }, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
						set(n, t, row.answer)
						second = 0
						serve(t, n, "second.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							second++
							status(http.StatusNotFound, "")(w, r)
						}))
						_ = question(t.Context(), f.client)
						// A HEAD is confirmed at the first URL, and a page's answer to a HEAD
						// of a blob is believed; only a GET shows that these are trouble.
						unsure := kind == "head" || kind == "attest"
						if asked := second > 0; asked && !row.asked || !asked && row.asked && !unsure && !tolerated(kind, name) {
							t.Errorf("%s: the second URL was asked: %t, want %t", kind, asked, row.asked)
						}
					})
				}
			})
		}
	}
}

// tolerated are answers that are invalid for manifests and valid for others: bytes of a blob,
// whose digest the caller checks, and those that mean that there is no referrers API.
func tolerated(kind, name string) bool {
	return kind == "blob" && (name == "a page" || name == "nothing") || kind == "referrers" && strings.HasPrefix(name, "4")
}
