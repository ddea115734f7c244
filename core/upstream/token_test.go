package upstream_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestTokenEndpointSays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		err    error
	}{
		{"an access_token", 200, `{"access_token":"x"}`, upstream.ErrDenied}, // it is invalid, but it is sent
		{"rate limited of a 429", 429, "", upstream.ErrRateLimited},
		{"unavailable of a 500", 500, "", upstream.ErrUnavailable},
		{"unavailable of a 503", 503, "", upstream.ErrUnavailable},
		{"not found of a 401, to anonymous", 401, "", upstream.ErrNotFound},
		{"not found of a 403, to anonymous", 403, "", upstream.ErrNotFound},
		{"unavailable of a 400", 400, "", upstream.ErrUnavailable},
		{"unavailable of a 404", 404, "", upstream.ErrUnavailable},
		{"unavailable of a 408", 408, "", upstream.ErrUnavailable},

		// Its answers are not trusted.
		{"unavailable of no token", 200, `{"expires_in":60}`, upstream.ErrUnavailable},
		{"unavailable of a web page", 200, `<html>hunter2`, upstream.ErrUnavailable},
		{"unavailable of a token with a line break", 200, `{"token":"hunter2\r\nX: y"}`, upstream.ErrUnavailable},
		{"unavailable of too much", 200, `{"token":"` + strings.Repeat("x", 1<<20) + `"}`, upstream.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
			f.Fault(upstreamtest.Fault{Host: "token", Status: tt.status, Body: tt.body})
			_, err := f.client.Manifest(t.Context(), repo, tag)
			if !errors.Is(err, tt.err) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %v", err, tt.err)
			}
		})
	}
}

func TestCredentialsComeFromADockerConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"https://fake/v1/":{"username":"user","password":"secret"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Basic}, func(c *upstream.Config) { c.CredentialsFile = file })
	if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
		t.Error(err)
	}
	if !f.client.Credentialed() || f.client.Anonymous().Credentialed() {
		t.Error("the client has credentials and its anonymous twin has none, or should")
	}
}

func TestLimitsOfPullsAndOfRequests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config upstreamtest.Config
		pulls  bool
	}{
		{"Docker Hub counts pulls", upstreamtest.Config{Kind: upstreamtest.Hub, Pulls: 1}, true},
		{"Quay counts requests", upstreamtest.Config{Kind: upstreamtest.Quay, Requests: 2}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.config, nil)
			if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
				t.Fatal(err)
			}
			_, err := f.client.Manifest(t.Context(), repo, tag)
			var e *upstream.Error
			if !errors.As(err, &e) || !errors.Is(err, upstream.ErrRateLimited) || e.PullLimit != tt.pulls {
				t.Errorf("got %v, want %v, of pulls %t", err, upstream.ErrRateLimited, tt.pulls)
			}
			if _, err := f.client.Head(t.Context(), repo, tag); (err == nil) != tt.pulls {
				t.Errorf("HEAD after it: got %v, want an answer: %t", err, tt.pulls)
			}
		})
	}
}

func TestRemovedTagIsNotFound(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.GHCR}, nil)
	f.Untag(repo, tag.Tag)
	if _, err := f.client.Manifest(t.Context(), repo, tag); !errors.Is(err, upstream.ErrNotFound) {
		t.Errorf("got %v, want %v", err, upstream.ErrNotFound)
	}
}

func TestChallengeThatChanges(t *testing.T) {
	f := start(t, upstreamtest.Config{Kind: upstreamtest.Hub}, nil)
	f.Manifest("other", index, document, tag.Tag)
	if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
		t.Fatal(err)
	}
	// A token that was made a moment ago, for a request that has ended.
	f.Fault(upstreamtest.Fault{Host: "registry", Times: 1, Status: 401,
		Header: header("Www-Authenticate", `Bearer realm="http://`+f.Token+`/token",service="moved"`)})
	if _, err := f.client.Head(t.Context(), "other", tag); err != nil {
		t.Errorf("got %v, want none", err)
	}
}
