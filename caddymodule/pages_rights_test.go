package caddymodule_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/observe"
)

func TestATagIsPointedBack(t *testing.T) {
	a := newActing(t, "")
	one := a.image("team/app", "one", "v1")
	two := a.image("team/app", "two", "v1")
	to := "/images/team/app:v1/-/back?to=" + one.Digest.String()
	if page := a.erich.browse(http.StatusOK, "/images/team/app:v1/-/history"); !strings.Contains(page, html.EscapeString(to[:len(to)-71])) {
		t.Errorf("the history has no link %s:\n%s", to, page)
	}
	page := a.erich.browse(http.StatusOK, to)
	form := forms(page)["back"]
	if !strings.Contains(page, short12(two.Digest)) || form.Get("from") != two.Digest.String() {
		t.Fatalf("the page is %s", page)
	}
	three := a.image("team/app", "three", "v1") // somebody pushes meanwhile
	_, page = a.erich.page(http.StatusConflict, "/images/team/app:v1/-/back", form)
	form = forms(page)["back"]
	if !strings.Contains(page, "The tag moved since you looked at this") || form.Get("from") != three.Digest.String() {
		t.Errorf("the page is %s", page)
	}
	for _, v := range []*visitor{a.ci, a.reader} {
		v.browse(http.StatusForbidden, to)
		v.page(http.StatusForbidden, "/images/team/app:v1/-/back", form)
	}
	a.wantHeard("a refused move", observe.EventDenied, "repository:team/app", "user:robot", "action:put_manifest", "status:403")
	a.erich.page(http.StatusNotFound, "/images/team/app:v1/-/back", url.Values{"to": {digest.FromString("never named").String()}, "do": {"back"}})
	response, _ := a.erich.page(http.StatusSeeOther, "/images/team/app:v1/-/back", form)
	if got := response.Header.Get("Location"); got != "/images/team/app:v1" {
		t.Errorf("it leads to %q", got)
	}
	a.wantHeard("the move", observe.EventOverwrite, "tag:v1", "digest:"+one.Digest.String(), "digest_before:"+three.Digest.String(), "user:erich")
	response, _ = a.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil, "Authorization", "Bearer "+a.key)
	if got := response.Header.Get("Docker-Content-Digest"); got != one.Digest.String() {
		t.Errorf("v1 names %s, want %s", got, one.Digest)
	}
}

// Everybody is told what they may do, by the rule that decides for them and no other, and without its
// patterns for other repositories.
func TestWhatYouMayDoHere(t *testing.T) {
	a := newActing(t, "")
	for _, repo := range []string{"team/app", "public/app"} {
		a.image(repo, "one", "v1")
	}
	part := func(page string) string {
		_, rights, found := strings.Cut(page, "What you may do here")
		if !found {
			t.Fatalf("the page does not say it: %s", page)
		}
		return rights
	}
	cells := regexp.MustCompile(`<strong>(\w+)</strong>.*?<td>(yes|no)</td><td class="dim">(.*?)</td>`)
	for _, row := range []struct {
		visitor    *visitor
		path, want string
	}{
		{a.erich, "/images/team/app", "read yes allow group friends * on team/**; fetch no only mirrors fetch; create yes allow group friends * on team/**; update yes allow group friends * on team/**; delete yes allow group friends * on team/**"},
		{a.ci, "/images/team/app", "read yes allow group ci read create on team/**; fetch no only mirrors fetch; create yes allow group ci read create on team/**; update no no rule allows it; delete no no rule allows it"},
		{visit(t, a.port, nil), "/images/public/app", "read yes allow anonymous read on public/**; fetch no only mirrors fetch; create no no rule allows it; update no no rule allows it; delete no no rule allows it"},
	} {
		rights := part(row.visitor.browse(http.StatusOK, row.path))
		var got []string
		for _, cell := range cells.FindAllStringSubmatch(rights, -1) {
			why, _, _ := strings.Cut(strings.TrimPrefix(cell[3], "<code>"), "</code>")
			got = append(got, cell[1]+" "+cell[2]+" "+why)
		}
		if text := strings.Join(got, "; "); text != row.want {
			t.Errorf("%s: got %s\nwant %s", row.path, text, row.want)
		}
	}
	if rights := part(visit(t, a.port, nil).browse(http.StatusOK, "/images/public/app")); strings.Contains(rights, "friends") || strings.Contains(rights, "Caddyfile") {
		t.Errorf("a visitor sees %s", rights)
	}
}
