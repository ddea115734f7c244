package floods

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// strangersAtOnce are the anonymous callers of a mirror in these floods: more than the
// upstream has connections.
const strangersAtOnce = 40

// An upstream sends the same to anonymous callers.
func TestManifestsOfAnUpstream(t *testing.T) {
	f := start(t, "", mirrorOf(bombUpstream(t), ""))
	c := f.anonymous()
	get := func(i int) error {
		name, _, _ := bomb(i)
		status, err := f.ask(c, http.MethodGet, fmt.Sprintf("/v2/up.example/team/app/manifests/t%d", i), "", nil)
		if err != nil || status == http.StatusInternalServerError {
			return fmt.Errorf("pull of %s: status %d: %v", name, status, err)
		}
		return nil
	}
	for kind := range count(2, len(bombs)+1) {
		f.together(atOnce, atOnce, func(i int) error { return get(kind + i*(len(bombs)+1)) })
	}
	f.together(count(60, 200), strangersAtOnce, get)
	f.bounded()
}

// A page of an upstream's referrers is twice as large.
func TestReferrersOfAnUpstream(t *testing.T) {
	f := start(t, "", mirrorOf(bombUpstream(t), ""))
	c := f.anonymous()
	f.together(strangersAtOnce, strangersAtOnce, func(i int) error {
		d := digest.FromString(fmt.Sprint("subject", i))
		status, err := f.ask(c, http.MethodGet, "/v2/up.example/team/app/referrers/"+d.String(), "", nil)
		if err != nil || status == http.StatusInternalServerError {
			return fmt.Errorf("status %d: %v", status, err)
		}
		return nil
	})
	f.bounded()
}

// A list of tags may be as large, and each repository has one.
func TestTagListsOfManyRepositories(t *testing.T) {
	page := repeat(2*largest, `{"name":"x","tags":[`, `"v1.0.0-a.name.that.is.long.as.they.are"`, `]}`)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			w.Write(page)
		}
	}))
	t.Cleanup(up.Close)
	f := start(t, "", mirrorOf(up, ""))
	c := f.anonymous()
	f.together(strangersAtOnce, strangersAtOnce, func(i int) error {
		status, err := f.ask(c, http.MethodGet, fmt.Sprintf("/v2/up.example/team/app%d/tags/list?n=1", i), "", nil)
		if err != nil || status == http.StatusInternalServerError {
			return fmt.Errorf("status %d: %v", status, err)
		}
		return nil
	})
	f.bounded()
}
