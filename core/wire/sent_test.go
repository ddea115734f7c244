package wire

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/budget"
)

// loads counts the manifests that are read of a registry.
type loads struct {
	*memory
	manifests atomic.Int32
}

func (l *loads) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	l.manifests.Add(1)
	return l.memory.Manifest(ctx, repo, ref)
}

// stuckWriter is a client that reads nothing until go on is closed.
type stuckWriter struct {
	*httptest.ResponseRecorder
	goOn chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	<-w.goOn
	return w.ResponseRecorder.Write(p)
}

// Clients that read slowly keep large manifests in memory: each caller only a share
// of the budget, and all of them no more than the budget. Small manifests are sent at
// once.
func TestLargeManifestsAreSentWithinABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &loads{memory: newMemory()}
		large := `{"schemaVersion":2,"manifests":[],"annotations":{"a":"` + strings.Repeat("x", largeManifest) + `"}}`
		for name, body := range map[string]string{"large": large, "small": indexJSON} {
			r := putOf(strings.NewReader(body), int64(len(body)))
			r.URL.Path = "/v2/" + name + "/manifests/v1"
			w := httptest.NewRecorder()
			if handler(reg, Options{}).ServeHTTP(w, r); w.Code != http.StatusCreated {
				t.Fatalf("push of the %s one: %d %s", name, w.Code, w.Body)
			}
		}
		sent := budget.New(2*int64(len(large)), int64(len(large)))
		get := func(name, principal string, w http.ResponseWriter) <-chan struct{} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				r := httptest.NewRequest(http.MethodGet, "/v2/"+name+"/manifests/v1", nil)
				handler(reg, Options{Sent: sent, Caller: core.Access{Caller: principal}}).ServeHTTP(w, r)
			}()
			synctest.Wait()
			return done
		}
		wants := func(what string, w *httptest.ResponseRecorder, code int) {
			t.Helper()
			if w.Code != code || code == http.StatusOK && w.Body.Len() == 0 {
				t.Errorf("%s: got %d with %d bytes, want %d", what, w.Code, w.Body.Len(), code)
			}
		}

		slow := &stuckWriter{httptest.NewRecorder(), make(chan struct{})}
		first := get("large", "ada", slow)
		before := reg.manifests.Load()
		again := httptest.NewRecorder()
		waiting := get("large", "ada", again)
		if n := reg.manifests.Load() - before; n != 1 {
			t.Errorf("one that waits has read the manifest %d times, want once and not again before its turn", n)
		}
		small, other := httptest.NewRecorder(), httptest.NewRecorder()
		<-get("small", "ada", small)
		<-get("large", "eve", other)
		wants("a small one of the same caller", small, http.StatusOK)
		wants("a large one of another caller", other, http.StatusOK)

		<-waiting // until its patience ends
		wants("beyond the caller's part", again, http.StatusTooManyRequests)
		if again.Header().Get("Retry-After") == "" {
			t.Error("the answer does not say when to try again")
		}
		last := httptest.NewRecorder()
		waiting = get("large", "ada", last)
		close(slow.goOn)
		<-first
		<-waiting
		wants("the slow one", slow.ResponseRecorder, http.StatusOK)
		wants("one that waited for it", last, http.StatusOK)
	})
}
