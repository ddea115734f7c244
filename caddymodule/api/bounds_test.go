package api_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
)

// large has 250,000 repositories without content, and counts what is asked of it.
type large struct {
	core.Unimplemented
	read, looked int
}

const largeSize = 250_000

func (l *large) RepositoryRows(_ context.Context, _ string, _ core.RepositoryOrder, after string) iter.Seq2[core.RepositoryRow, error] {
	return func(yield func(core.RepositoryRow, error) bool) {
		first := 0
		if after != "" {
			fmt.Sscanf(after, "app%d", &first)
			first++
		}
		for i := first; i < largeSize; i++ {
			name := fmt.Sprintf("app%06d", i)
			l.read++
			if !yield(core.RepositoryRow{At: name, Name: name, OnlyHere: -1}, nil) {
				return
			}
		}
	}
}

func (l *large) TagRow(_ context.Context, repo, tag string) (core.TagRow, error) {
	l.looked++
	if repo == "app249999" {
		return core.TagRow{Name: tag}, nil
	}
	return core.TagRow{}, core.ErrManifestUnknown
}

func (l *large) CatalogState(context.Context) (core.CatalogState, error) {
	return core.CatalogState{Whole: true}, nil
}

// A filter that finds nothing reads 100,000 rows a request, and goes on.
func TestAFilterReadsABoundedNumberOfRows(t *testing.T) {
	for _, row := range []struct {
		query        string
		read, looked int // at most, by one request
		answers      int
	}{
		{"q=249999", 100_001, 0, 3},
		{"q=24999:v1", 100_001, 1000, 3},
		{"q=2499:v1", 100_001, 1000, 3},
		{"q=app2:v1", 100_001, 1000, 0}, // 50,000 look-ups
	} {
		l := new(large)
		a := &api.API{Registry: l, Mirror: func(string) string { return "" }}
		found, after, answers := 0, "", 0
		for {
			*l = large{}
			list := get[api.List](t, a, "/api/images?"+row.query+after)
			found += len(list.Repositories) + len(list.Tags)
			answers++
			if l.read > row.read || l.looked > row.looked {
				t.Errorf("%s: a request read %d rows and looked up %d tags, want at most %d and %d", row.query, l.read, l.looked, row.read, row.looked)
			}
			if !list.More {
				break
			}
			after = "&after=" + list.After
		}
		if found != 1 || row.answers > 0 && answers != row.answers {
			t.Errorf("%s: found %d in %d answers, want 1 in %d", row.query, found, answers, row.answers)
		}
	}
}

// A client that left ends the reading.
func TestAFilterEndsWithItsClient(t *testing.T) {
	l := new(large)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/api/images?q=none", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &api.API{Registry: l, Mirror: func(string) string { return "" }, Fail: func(http.ResponseWriter, *http.Request, string, error) {}}
	a.ServeHTTP(discard{}, request)
	if l.read > 1000 {
		t.Errorf("%d rows were read for a client that had left", l.read)
	}
}

// discard is an http.ResponseWriter for nobody.
type discard struct{}

func (discard) Header() http.Header                { return http.Header{} }
func (discard) WriteHeader(int)                    {}
func (discard) Write(data []byte) (n int, _ error) { return len(data), nil }
