package mirror_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// sourceOf asks for a manifest, and returns where it came from.
func sourceOf(t *testing.T, m core.Reader, ref core.Reference) core.Source {
	t.Helper()
	ctx, notes := core.WithNotes(fetch)
	if _, err := m.Manifest(ctx, repo, ref); err != nil {
		t.Fatal(err)
	}
	return notes.Source()
}

func TestWhereAnAnswerCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		is := func(what string, got, want core.Source) {
			t.Helper()
			if got != want {
				t.Errorf("%s: from %q, want %q", what, got, want)
			}
		}
		tags := func() core.Source {
			ctx, notes := core.WithNotes(fetch)
			for _, err := range f.Tags(ctx, repo, "") {
				if err != nil {
					t.Error(err)
				}
			}
			return notes.Source()
		}
		blob := func() core.Source {
			ctx, notes := core.WithNotes(fetch)
			if _, err := read(f, ctx, repo, f.blob); err != nil {
				t.Error(err)
			}
			return notes.Source()
		}
		// Nothing noted is what a mirror had.
		is("a cold tag", sourceOf(t, f, latest), core.SourceUpstream)
		is("a fresh tag", sourceOf(t, f, latest), "")
		is("what it names", sourceOf(t, f, core.Reference{Digest: f.image}), "")
		is("a cold blob", blob(), core.SourceUpstream)
		synctest.Wait()
		is("a held blob", blob(), "")
		is("a cold list", tags(), core.SourceUpstream)
		is("a fresh list", tags(), "")

		time.Sleep(mirror.DefaultTTL)
		is("a tag that the upstream confirms", sourceOf(t, f, latest), "")
		time.Sleep(mirror.DefaultTTL)
		trouble := f.up.Fault(upstreamtest.Fault{Status: http.StatusServiceUnavailable})
		is("a tag whose upstream is away", sourceOf(t, f, latest), core.SourceStale)
		is("a list whose upstream is away", tags(), core.SourceStale)
		is("a blob whose upstream is away", blob(), "")

		trouble.Lift()
		time.Sleep(mirror.DefaultTTL)
		f.up.Untag("library/nginx", "latest")
		is("a tag that is gone", sourceOf(t, f, latest), core.SourceStale)
		is("a tag that is gone, within its ttl", sourceOf(t, f, latest), core.SourceStale)
	})
}

func TestWhatIsSharedSaysSo(t *testing.T) {
	up, first := image(t)
	b := new(board)
	one, two, three := node(t, up, b, "docker.io", nil), node(t, up, b, "docker.io", nil), node(t, up, b, "docker.io", nil)
	for _, row := range []struct {
		name string
		from *mirror.Mirror
		ref  core.Reference
		want core.Source
	}{
		{"the first", one, latest, core.SourceUpstream},
		{"the second", two, latest, core.SourceShared},
		{"the second again", two, latest, ""},
		{"a third, by digest", three, core.Reference{Digest: first}, core.SourceShared},
	} {
		if got := sourceOf(t, row.from, row.ref); got != row.want {
			t.Errorf("%s: from %q, want %q", row.name, got, row.want)
		}
	}
}
