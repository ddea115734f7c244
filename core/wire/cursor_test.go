package wire

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// guarded lists the repositories of which a caller may see some.
type guarded struct {
	core.Unimplemented
	names   []string
	visible func(string) bool
	looks   *int
}

func (g guarded) Repositories(_ context.Context, after string) iter.Seq2[string, error] {
	return core.Filter(func(yield func(string, error) bool) {
		for _, name := range g.names {
			if name <= after {
				continue
			}
			if *g.looks++; !yield(name, nil) {
				return
			}
		}
	}, g.visible)
}

// backwards seals in a way that a test can read and a client would not.
type backwards struct{}

func (backwards) Seal(purpose string, plain []byte) []byte {
	sealed := append([]byte(purpose), plain...)
	slices.Reverse(sealed)
	return sealed
}

func (backwards) Unseal(purpose string, sealed []byte) ([]byte, error) {
	plain := slices.Clone(sealed)
	slices.Reverse(plain)
	if !strings.HasPrefix(string(plain), purpose) {
		return nil, errors.New("not sealed here")
	}
	return plain[len(purpose):], nil
}

func (g guarded) ask(t *testing.T, target string) *httptest.ResponseRecorder {
	t.Helper()
	r, w := httptest.NewRequest("GET", target, nil), httptest.NewRecorder()
	options := Options{Cursors: backwards{}}
	if req, err := Parse(r.Method, r.URL); err != nil {
		Fail(w, r, req, err, options)
	} else {
		Serve(w, r, req, g, options)
	}
	return w
}

// A caller who may see few of many names gets them all by following Link. No page
// costs more than its bound, and no Link shows a name that is not theirs.
func TestCatalogGoesOnBehindWhatMayNotBeSeen(t *testing.T) {
	var names, want []string
	for i := range 3500 {
		name := fmt.Sprintf("secret/n%04d", i)
		if i%700 == 5 {
			name = fmt.Sprintf("secret/n%04d/shown", i)
			want = append(want, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, query := range []string{"", "?n=1", "?n=2"} {
		looks := 0
		g := guarded{names: names, visible: func(name string) bool { return strings.HasSuffix(name, "/shown") }, looks: &looks}
		var got []string
		pages := 0
		for target := "/v2/_catalog" + query; target != ""; pages++ {
			before := looks
			w := g.ask(t, target)
			if w.Code != http.StatusOK {
				t.Fatalf("%s: got status %d: %s", target, w.Code, w.Body)
			}
			var page struct{ Repositories []string }
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || page.Repositories == nil {
				t.Fatalf("got %s, %v", w.Body, err)
			}
			got = append(got, page.Repositories...)
			if cost := looks - before; cost > core.MaxPassed+len(page.Repositories)+1 {
				t.Errorf("%s: looked at %d names for a page of %d", target, cost, len(page.Repositories))
			}
			link := w.Header().Get("Link")
			for _, name := range names {
				if strings.Contains(link, strings.ReplaceAll(name, "/", "%2F")+"&") && !g.visible(name) {
					t.Fatalf("the link shows %s: %s", name, link)
				}
			}
			target, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q on %d pages, want %q", query, got, pages, want)
		}
		if pages < 4 {
			t.Errorf("%q: got %d pages, want short ones", query, pages)
		}
	}
}

func TestCursorsHaveOneLengthAndOneMaker(t *testing.T) {
	e := &exchange{opts: Options{Cursors: backwards{}}}
	lengths := map[int]bool{}
	for _, name := range []string{"a", "team/app", strings.Repeat("a", core.MaxNameLength)} {
		cursor, err := e.cursor(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.place(cursor); err != nil || got != name {
			t.Errorf("%s came back as %q, %v", name, got, err)
		}
		lengths[len(cursor)] = true
		if len(cursor) > maxCursor {
			t.Errorf("a cursor has %d characters", len(cursor))
		}
	}
	if len(lengths) != 1 {
		t.Errorf("cursors have the lengths %v", lengths)
	}
	looks := 0
	for _, last := range []string{"~", "~a", "~" + base64.RawURLEncoding.EncodeToString(make([]byte, cursorSize)), "~" + strings.Repeat("a", maxCursor)} {
		w := guarded{names: []string{"a"}, visible: func(string) bool { return true }, looks: &looks}.ask(t, "/v2/_catalog?last="+last)
		if w.Code != http.StatusBadRequest {
			t.Errorf("last=%.20s: got status %d: %s", last, w.Code, w.Body)
		}
	}
	if looks != 0 {
		t.Error("a list was begun with an invalid cursor")
	}
	// Tags and referrers are their reader's: a list of them has no cursors.
	if _, err := (&exchange{}).cursor("a"); err == nil {
		t.Error("a name was hidden without Cursors")
	}
}

// unsealed opens values that were never sealed: the content of a cursor must be
// checked by itself.
type unsealed struct{}

func (unsealed) Seal(_ string, plain []byte) []byte             { return plain }
func (unsealed) Unseal(_ string, sealed []byte) ([]byte, error) { return sealed, nil }

func FuzzCursor(f *testing.F) {
	e := &exchange{opts: Options{Cursors: unsealed{}}}
	good, err := e.cursor("team/app")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("~")
	f.Add("team/app")
	f.Fuzz(func(t *testing.T, last string) {
		name, err := e.place(last)
		if err != nil && !errors.Is(err, ErrQuery) || err == nil && isCursor(last) && len(name) > core.MaxNameLength {
			t.Errorf("%q is the place %q, %v", last, name, err)
		}
	})
}
