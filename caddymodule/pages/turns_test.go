package pages_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// weighty is a shelf whose manifests are large, and are read when the test lets them be.
type weighty struct {
	*shelf
	begun, goOn chan struct{}
}

func (w weighty) ImageRow(context.Context, string, digest.Digest) (core.ImageRow, error) {
	row := image
	row.Size = 4 << 20
	return row, nil
}

func (w weighty) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	w.begun <- struct{}{}
	<-w.goOn
	return w.shelf.Manifest(ctx, repo, ref)
}

// Large manifests are composed two at a time: each takes much of the processor and of memory, and anybody
// can ask for its page.
func TestLargeManifestsAreOnFewPagesAtOnce(t *testing.T) {
	w := weighty{&shelf{state: core.CatalogState{Whole: true}}, make(chan struct{}), make(chan struct{})}
	var log strings.Builder
	ask := func(ctx context.Context, visitor string) int {
		site := &pages.Site{
			Who:      policies.Identity{Address: visitor},
			Registry: w, Private: w, Host: "registry.test", Log: slog.New(slog.NewTextHandler(&log, nil)),
			Canonical: func(name string) (string, string, bool) { return name, "", true },
		}
		answer := httptest.NewRecorder()
		site.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/images/team/app:v1", nil))
		return answer.Code
	}
	codes := make(chan int, 2)
	for n := range cap(codes) {
		go func() { codes <- ask(t.Context(), fmt.Sprint("192.0.2.", n)) }()
		<-w.begun
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	ask(left, "192.0.2.9") // it would stay in Manifest for ever
	close(w.goOn)
	for range cap(codes) {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("got %d", code)
		}
	}
	go func() { <-w.begun }()
	if code := ask(t.Context(), "192.0.2.0"); code != http.StatusOK {
		t.Errorf("after them: got %d", code)
	}
	if log.Len() > 0 {
		t.Errorf("the log has %s", &log)
	}
}
