package wire

import (
	"context"
	"iter"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// warning is a registry that warns of all that it serves.
type warning struct {
	*memory
	of []string
}

func (r warning) Manifest(ctx context.Context, repo string, ref core.Reference) (core.Manifest, error) {
	for _, text := range r.of {
		core.Warn(ctx, text)
	}
	return r.memory.Manifest(ctx, repo, ref)
}

func (r warning) Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error) {
	m, err := r.Manifest(ctx, repo, ref)
	return m.Descriptor, err
}

func (r warning) Tags(ctx context.Context, repo, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for tag, err := range r.memory.Tags(ctx, repo, after) {
			if !yield(tag, err) {
				break
			}
		}
		for _, text := range r.of {
			core.Warn(ctx, text)
		}
	}
}

// A list that is not whole says so, also on a page that is not its last.
func TestWarningsOfAList(t *testing.T) {
	for _, path := range []string{"/v2/a/b/tags/list", "/v2/a/b/tags/list?n=1"} {
		r := httptest.NewRequest("GET", path, nil)
		req, err := Parse(r.Method, r.URL)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		Serve(w, r, req, warning{filled(t), []string{"not all"}}, Options{})
		if got, want := w.Header().Values("Warning"), []string{`299 - "not all"`}; !slices.Equal(got, want) || w.Code != 200 {
			t.Errorf("%s: got %q with status %d, want %q", path, got, w.Code, want)
		}
	}
}

// A registry's warnings are sent with a good answer, as spec.md requires.
func TestWarnings(t *testing.T) {
	many := slices.Repeat([]string{"x"}, 100)
	for _, tt := range []struct {
		name, method, ref, match string
		of                       []string
		want                     []string
	}{
		{"of a GET", "GET", "v1", "", []string{"it is gone"}, []string{`299 - "it is gone"`}},
		{"of a HEAD", "HEAD", "v1", "", []string{"it is gone"}, []string{`299 - "it is gone"`}},
		{"of a manifest that the client has", "GET", "v1", "*", []string{"it is gone"}, []string{`299 - "it is gone"`}},
		{"with quotes", "GET", "v1", "", []string{`a "b" \`}, []string{`299 - "a \"b\" \\"`}},
		{"two", "GET", "v1", "", []string{"a", "b"}, []string{`299 - "a"`, `299 - "b"`}},
		{"no more than eight", "GET", "v1", "", many, slices.Repeat([]string{`299 - "x"`}, 8)},
		{"of nothing", "GET", "v1", "", nil, nil},
		{"not with an error", "GET", "v9", "", []string{"it is gone"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/v2/a/b/manifests/"+tt.ref, nil)
			r.Header.Set("If-None-Match", tt.match)
			req, err := Parse(r.Method, r.URL)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			Serve(w, r, req, warning{filled(t), tt.of}, Options{})
			if got := w.Header().Values("Warning"); !slices.Equal(got, tt.want) {
				t.Errorf("got %q with status %d, want %q", got, w.Code, tt.want)
			}
		})
	}
}
