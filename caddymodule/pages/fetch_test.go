package pages_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// slow is a registry whose upstream does not answer.
type slow struct{ shelf }

func (s *slow) Manifest(ctx context.Context, _ string, _ core.Reference) (core.Manifest, error) {
	if core.Looks(ctx) {
		return core.Manifest{}, core.ErrManifestUnknown
	}
	<-ctx.Done()
	return core.Manifest{}, context.Cause(ctx)
}

// A visitor waits for an upstream half a minute, and not for ever.
func TestAFetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slow{shelf{state: core.CatalogState{Whole: true}}}
		site := &pages.Site{
			Registry: r, Private: r, Host: "registry.test", Cursors: backwards{}, Log: slog.New(slog.DiscardHandler),
			Canonical: func(name string) (string, string, bool) { return name, "docker.io", true },
			Rights: func(string) []pages.Right {
				return []pages.Right{{Action: policies.Read, Allowed: true}, {Action: policies.Fetch, Allowed: true}}
			},
		}
		begun := time.Now()
		answer := httptest.NewRecorder()
		site.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/images/docker.io/team/app:v1/-/fetch", nil))
		if answer.Code != http.StatusGatewayTimeout || !strings.Contains(answer.Body.String(), "The upstream takes its time") {
			t.Errorf("got %d %s", answer.Code, answer.Body)
		}
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// stale is a registry whose upstream cannot be asked, and that has an old list of its tags.
type stale struct{ shelf }

func (s *stale) Tags(ctx context.Context, _, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if !core.Looks(ctx) {
			core.From(ctx, core.SourceStale)
		}
		yield("v1", nil)
	}
}

// A visitor who has an upstream asked for its tags is told that it could not be asked, although an old list is here.
func TestAnOldListIsNoAnswerOfTheUpstream(t *testing.T) {
	r := &stale{shelf{state: core.CatalogState{Whole: true}}}
	site := &pages.Site{
		Registry: r, Private: r, Host: "registry.test", Cursors: backwards{}, Log: slog.New(slog.DiscardHandler),
		Canonical: func(name string) (string, string, bool) { return name, "docker.io", true },
		Rights: func(string) []pages.Right {
			return []pages.Right{{Action: policies.Read, Allowed: true}, {Action: policies.Fetch, Allowed: true}}
		},
	}
	answer := httptest.NewRecorder()
	site.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/images/docker.io/team/app/-/upstream", nil))
	if answer.Code != http.StatusBadGateway || !strings.Contains(answer.Body.String(), "The upstream cannot be asked") {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
}
