package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// matrixPeople are signed in with a browser.
var matrixPeople = []struct {
	name string
	tier tier
}{
	{"ada", tierAdmin}, {"wanda", tierWorkload}, {"olga", tierPerson},
}

// shownRepos are repositories that pages and the API are asked about.
var shownRepos = []matrixRepo{
	{name: "team/app", held: true}, {name: "secret/app", held: true}, {name: "team/none"}, {name: "secret/none"},
	{name: "quay.io/team/held", mirror: true, held: true}, {name: "docker.io/public/held", mirror: true, held: true},
	{name: "docker.io/hidden/held", mirror: true, held: true, hidden: true},
}

// sees reports whether somebody is shown a repository.
func (t tier) sees(r matrixRepo) bool {
	return r.held && t.may("read", r.name) && (!r.hidden || t.may("reveal", r.name))
}

// viewer is somebody with a credential or the session of a browser, on one site.
type viewer struct {
	name   string
	tier   tier // by what the API is told
	browse tier // by the session, which is all that pages take
	in     bool // signed in
	header http.Header
	wrong  bool // the credential is refused
}

// viewers are all who ask on a site.
func (m *matrix) viewers(s matrixSite) (all []viewer) {
	m.Helper()
	for _, c := range matrixCallers {
		if s.tls != c.certificate && !c.silent {
			continue
		}
		v := viewer{name: c.name, tier: c.tier, header: m.fields(c, s), wrong: c.presents && (!s.takes || !c.good)}
		if c.silent && s.tls {
			v.tier = tierWorkload // its client has a certificate
		}
		all = append(all, v)
	}
	for _, person := range matrixPeople {
		v := viewer{name: "session of " + person.name, header: http.Header{}}
		if s.remote {
			v.header.Set("X-Forwarded-For", "203.0.113.9")
		}
		if s.takes { // elsewhere the cookie is nothing
			v.tier, v.browse, v.in = person.tier, person.tier, true
		}
		v.header.Set("Cookie", m.cookie(person.name, s))
		all = append(all, v)
	}
	return all
}

// cookie signs somebody in, and returns the cookie of the session.
func (m *matrix) cookie(user string, s matrixSite) string {
	m.Helper()
	at := matrixSites[0]
	if s.tls {
		at = s
	}
	id := user + " " + at.name
	if m.tokens[id] == "" {
		response, body := m.ask(at, "POST", "/login", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			passwordForm(user, registrytest.Password).Encode())
		if response.StatusCode != http.StatusSeeOther || len(response.Cookies()) == 0 {
			m.Fatalf("%s signs in: got %d %s", user, response.StatusCode, body)
		}
		for _, cookie := range response.Cookies() {
			if cookie.Value != "" {
				m.tokens[id] = cookie.Name + "=" + cookie.Value
			}
		}
	}
	return m.tokens[id]
}

// view asks, and compares the status.
func (m *matrix) view(s matrixSite, v viewer, method, path, body string, want int) string {
	m.Helper()
	m.serial++
	header := v.header.Clone()
	header.Set("Accept", "text/html")
	if method == http.MethodPost {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, data := m.ask(s, method, path, header, body)
	if response.StatusCode != want {
		m.Errorf("%s %s by %s on a %s site: got %d, want %d: %.300s", method, path, v.name, s.name, response.StatusCode, want, data)
	}
	return string(data)
}

// TestMatrixOfPages asks for every page and every address of the API as every kind of caller. Each
// caller asks about each repository on every second site, and on all with REGISTRY_SLOW.
func TestMatrixOfPages(t *testing.T) {
	slow := os.Getenv("REGISTRY_SLOW") != ""
	m := newMatrix(t)
	whole(registrytest.At(t, m.ports["loopback"]))
	before := map[string]digest.Digest{}
	for _, repo := range []string{"team/app", "secret/app"} {
		before[repo] = m.put(repo, "moved", "first of "+repo)
		m.put(repo, "moved", "second of "+repo)
	}
	for i, s := range matrixSites {
		for j, v := range m.viewers(s) {
			m.lists(s, v)
			m.itself(s, v)
			for k, r := range shownRepos {
				if !slow && (i+j+k)%2 == 1 {
					continue
				}
				m.pagesOf(s, v, r, before[r.name])
				m.addressesOf(s, v, r)
			}
			if t.Failed() && m.serial > 2000 {
				t.Fatal("and perhaps more")
			}
		}
	}
	if m.serial < 6_000 {
		t.Errorf("only %d cells were looked at", m.serial)
	}
}

// lists asks for what is not about one repository: each must name what the caller sees, and nothing else.
func (m *matrix) lists(s matrixSite, v viewer) {
	m.Helper()
	for _, path := range []string{"/", "/images", "/images?order=push", "/images?order=size", "/images?q=e", "/images?q=held",
		"/images?q=app:v1", "/images?q=" + m.manifests["secret/app"].String()[:20], "/images?in=secret", "/images?in=docker.io"} {
		body := m.view(s, v, "GET", path, "", http.StatusOK)
		for _, r := range shownRepos {
			if strings.Contains(body, `href="/images/`+r.name) && !v.browse.sees(r) {
				m.Errorf("%s by %s on a %s site names %s", path, v.name, s.name, r.name)
			}
		}
	}
	want := http.StatusOK
	if v.wrong {
		want = http.StatusUnauthorized
	}
	m.view(s, v, "GET", "/api/state", "", want)
	m.view(s, v, "GET", "/api/openapi.json", "", want)
	for path, all := range map[string]bool{"/api/images?n=500": true, "/api/images?order=push": true, "/api/images?q=e&order=size": false,
		"/api/images?q=app:v1": false, "/api/images?q=" + m.manifests["secret/app"].String()[:20]: false} {
		body := m.view(s, v, "GET", path, "", want)
		for _, r := range shownRepos {
			named := strings.Contains(body, fmt.Sprintf("%q", r.name))
			if sees := v.tier.sees(r) && !v.wrong; named && !sees || all && sees && !named {
				m.Errorf("%s by %s on a %s site names %s: %v", path, v.name, s.name, r.name, named)
			}
		}
	}
}

// itself asks for what the registry knows of itself.
func (m *matrix) itself(s matrixSite, v viewer) {
	m.Helper()
	forAdmins := func(admin bool) int {
		if admin {
			return http.StatusOK
		}
		return http.StatusNotFound // as what does not exist
	}
	// Figures of a mirror are for those who may read everything in it, so those of docker.io, of
	// which the rules reveal a part only, are for administrators. So are addresses.
	whole := func(t tier, mirror string) bool {
		return t.only == "" && (mirror != "docker.io" || t.may("admin", ""))
	}
	m.view(s, v, "GET", "/mirrors", "", http.StatusOK)
	m.view(s, v, "GET", "/mirrors/none.example", "", http.StatusNotFound)
	m.view(s, v, "GET", "/admin/storage", "", forAdmins(v.browse.may("admin", "")))
	api := func(path string, want int) string {
		if v.wrong {
			want = http.StatusUnauthorized
		}
		return m.view(s, v, "GET", path, "", want)
	}
	api("/api/mirrors", http.StatusOK)
	api("/api/mirrors/none.example", http.StatusNotFound)
	m.view(s, v, "GET", "/api/storage", "", forAdmins(v.tier.may("admin", "") && !v.wrong))
	for _, mirror := range []string{"docker.io", "quay.io"} {
		body := m.view(s, v, "GET", "/mirrors/"+mirror, "", http.StatusOK)
		if got := strings.Contains(body, "Asked in 24 hours"); got != whole(v.browse, mirror) {
			m.Errorf("/mirrors/%s by %s on a %s site has figures: %v", mirror, v.name, s.name, got)
		}
		if strings.Contains(body, `data-label="from"`) && !v.browse.may("admin", "") {
			m.Errorf("/mirrors/%s by %s on a %s site has addresses", mirror, v.name, s.name)
		}
		want := http.StatusOK
		if v.tier.only != "" {
			want = http.StatusNotFound // it reads nothing there
		}
		body = api("/api/mirrors/"+mirror, want)
		if got := strings.Contains(body, `"figures"`); got != (whole(v.tier, mirror) && !v.wrong) {
			m.Errorf("/api/mirrors/%s by %s on a %s site has figures: %v", mirror, v.name, s.name, got)
		}
		if strings.Contains(body, `"address"`) && !v.tier.may("admin", "") {
			m.Errorf("/api/mirrors/%s by %s on a %s site has addresses", mirror, v.name, s.name)
		}
	}
	// knows: also what was there once, or is not there at all, has a past.
	knows := func(t tier, r matrixRepo) bool {
		return t.may("read", r.name) && (!r.hidden || t.may("reveal", r.name))
	}
	queries := []string{"", "?repo=team/app", "?repo=secret/app", "?repo=docker.io/hidden/held", "?event=push"}
	for _, query := range queries {
		page := m.view(s, v, "GET", "/activity"+query, "", http.StatusOK)
		body := api("/api/activity"+query, http.StatusOK)
		for _, r := range shownRepos {
			if strings.Contains(page, `href="/images/`+r.name) && !knows(v.browse, r) {
				m.Errorf("/activity%s by %s on a %s site names %s", query, v.name, s.name, r.name)
			}
			named := strings.Contains(body, fmt.Sprintf("%q", r.name))
			sees := knows(v.tier, r) && !v.wrong
			if named && !sees || query == "?repo="+r.name && !r.mirror && sees && r.held && !named {
				m.Errorf("/api/activity%s by %s on a %s site names %s: %v", query, v.name, s.name, r.name, named)
			}
		}
	}
	if v.header.Get("Authorization") != "" {
		return // keys show themselves; see package web
	}
	want := http.StatusOK
	switch {
	case s.readOnly:
		want = http.StatusNotFound
	case !s.takes:
		want = http.StatusForbidden
	case !v.in:
		want = http.StatusUnauthorized
	}
	keys := m.view(s, v, "GET", "/api/keys", "", want)
	if got := strings.Contains(keys, `"mallory"`); got != v.browse.may("admin", "") {
		m.Errorf("/api/keys by %s on a %s site has keys of others: %v", v.name, s.name, got)
	}
}

// pagesOf asks for the pages about a repository.
func (m *matrix) pagesOf(s matrixSite, v viewer, r matrixRepo, before digest.Digest) {
	m.Helper()
	at := "/images/" + r.name
	status := func(seen int) int {
		if !v.browse.sees(r) {
			return http.StatusNotFound
		}
		return seen
	}
	d := m.manifests[r.name]
	if d == "" {
		d = digest.FromString("nothing")
	}
	for _, path := range []string{at, at + "?kind=untagged", at + ":v1", at + "@" + d.String(), at + ":v1/-/history",
		at + "@" + d.String() + "/-/file/" + d.String()} {
		m.view(s, v, "GET", path, "", status(http.StatusOK))
	}
	m.view(s, v, "POST", at, "x=y", http.StatusMethodNotAllowed)
	// A change needs a session, and the right.
	acts := func(ok int, actions ...string) int {
		if !v.in {
			if s.takes {
				return status(http.StatusSeeOther) // to the sign-in
			}
			return status(http.StatusForbidden)
		}
		for _, action := range actions {
			if !v.browse.may(action, r.name) {
				ok = http.StatusForbidden
			}
		}
		return status(ok)
	}
	for _, query := range []string{"", "?tag=v1", "?image=" + d.String()} {
		m.view(s, v, "GET", at+"/-/delete"+query, "", acts(http.StatusOK, "delete"))
	}
	for _, do := range []string{"tags", "images", "repository"} {
		form := url.Values{"do": {do}, "key": {"of another review"}, "name": {r.name}, "tag": {"v1"}}
		m.view(s, v, "POST", at+"/-/delete", form.Encode(), acts(http.StatusConflict, "delete"))
	}
	// An upstream is asked for those alone who may fetch. For others who see the repository it depends on
	// what was asked before: TestTagsOfAnUpstreamAreShown.
	fetches := r.mirror && v.browse.may("read", r.name) && v.browse.may("fetch", r.name)
	if offered := http.StatusNotFound; fetches || !r.mirror || !v.browse.sees(r) {
		if fetches {
			offered = http.StatusOK
		}
		m.view(s, v, "GET", at+"/-/upstream", "", offered)
	}
	for _, path := range []string{at + ":v1/-/fetch", at + "/-/upstream"} {
		want := http.StatusForbidden
		switch {
		case !r.mirror, !v.browse.may("read", r.name):
			want = http.StatusNotFound
		case fetches:
			continue // TestOnlyThoseWhoMayFetchDo
		case !v.in && s.takes:
			want = http.StatusSeeOther // to the sign-in
		}
		m.view(s, v, "POST", path, "x=y", want)
	}
	if before != "" {
		m.view(s, v, "GET", at+":moved/-/back?to="+before.String(), "", acts(http.StatusOK, "create", "update"))
		form := url.Values{"do": {"back"}, "to": {before.String()}, "from": {before.String()}}
		m.view(s, v, "POST", at+":moved/-/back", form.Encode(), acts(http.StatusConflict, "create", "update"))
	}
}

// addressesOf asks for the addresses of the API about a repository.
func (m *matrix) addressesOf(s matrixSite, v viewer, r matrixRepo) {
	m.Helper()
	at := "/api/images/" + r.name
	hidden := func() int { // it is not told whether there is such a repository
		if v.wrong || !v.tier.known {
			return http.StatusUnauthorized
		}
		return http.StatusNotFound
	}
	want := http.StatusOK
	switch {
	case v.wrong || !v.tier.may("read", r.name):
		want = hidden()
	case !r.held, r.hidden && !v.tier.may("reveal", r.name):
		want = http.StatusNotFound // one is like the other
	}
	d := m.manifests[r.name]
	if d == "" {
		d = digest.FromString("nothing")
	}
	body := m.view(s, v, "GET", at, "", want)
	// The bytes that no other repository has are a figure over all of them, and mirrors share content.
	sums := want == http.StatusOK && v.tier.only == "" && v.tier.may("read", "secret/app") && (!r.mirror || v.tier.may("admin", ""))
	if got := strings.Contains(body, `"only_here"`); got != sums {
		m.Errorf("%s by %s on a %s site has sums over repositories: %v", at, v.name, s.name, got)
	}
	for _, path := range []string{"/-/tags", "/-/images", ":v1", ":v1/-/history", "@" + d.String()} {
		m.view(s, v, "GET", at+path, "", want)
	}
	offered := want
	if want == http.StatusOK { // of a mirror it depends on what was asked before
		offered = http.StatusNotFound
	}
	if !r.mirror || want != http.StatusOK {
		m.view(s, v, "GET", at+"/-/upstream", "", offered)
	}
	if want != http.StatusNotFound { // nobody uses what is not there
		m.view(s, v, "GET", at+"@"+d.String()+"/-/users", "", want)
	}
	plan := want // for those who may delete
	switch {
	case v.wrong, v.tier.may("delete", r.name):
	case v.tier.known && v.tier.may("read", r.name):
		plan = http.StatusForbidden
	default:
		plan = hidden()
	}
	for _, path := range []string{":v1", "@" + d.String()} {
		m.view(s, v, "GET", at+path+"/-/deletion", "", plan)
	}
	switch {
	case s.readOnly && !v.wrong:
		plan = http.StatusMethodNotAllowed
	case plan == http.StatusOK:
		plan = http.StatusConflict // it is another plan
	}
	m.view(s, v, "DELETE", at+"@"+d.String()+"?plan=another", "", plan)
	switch {
	case v.wrong:
		want = http.StatusUnauthorized
	case s.readOnly:
		want = http.StatusMethodNotAllowed
	case v.tier.may("delete", r.name):
		want = http.StatusNotFound // there is no such tag
	case v.tier.known && v.tier.may("read", r.name):
		want = http.StatusForbidden
	default:
		want = hidden()
	}
	m.view(s, v, "DELETE", at+":absent", "", want)
	m.view(s, v, "DELETE", at+"@"+digest.FromString("absent").String(), "", want)
}
