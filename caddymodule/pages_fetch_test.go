package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

const fetchPolicy = `policy {
	allow anonymous read on docker.io/team/** docker.io/open/**
	allow anonymous fetch on docker.io/open/**
	allow group friends * on docker.io/**
	allow group ci read on docker.io/**
}
`

const appPage = "/images/docker.io/team/app"

// fetchable is an upstream with an index of two platforms, in two repositories. layer is that of both.
func fetchable(t *testing.T) (u *upstreamtest.Upstream, layer digest.Digest) {
	t.Helper()
	u = upstreamtest.New(t, upstreamtest.Config{})
	for _, repo := range []string{"team/app", "open/app"} {
		layer = u.Blob(repo, []byte("a layer"))
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
		for _, architecture := range []string{"amd64", "arm64"} {
			config := `{"os":"linux","architecture":"` + architecture + `"}`
			data := mustJSON(t, ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
				Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: u.Blob(repo, []byte(config)), Size: int64(len(config))},
				Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: int64(len("a layer"))}},
			})
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: ocispec.MediaTypeImageManifest, Digest: u.Manifest(repo, ocispec.MediaTypeImageManifest, data, architecture[:3]),
				Size: int64(len(data)), Platform: &ocispec.Platform{OS: "linux", Architecture: architecture},
			})
		}
		u.Manifest(repo, ocispec.MediaTypeImageIndex, mustJSON(t, index), "v1")
	}
	u.Forget()
	return u, layer
}

// A page of what a mirror does not hold has it fetched: what the page shows, and no layers.
func TestAMirrorFetchesWhatAPageAsksFor(t *testing.T) {
	u, layer := fetchable(t)
	a := newActingBy(t, fetchPolicy, registrytest.Mirror("docker.io", u))
	page := a.erich.browse(http.StatusNotFound, appPage+":v1")
	if !strings.Contains(page, `action="`+appPage+`:v1/-/fetch"`) {
		t.Fatalf("nothing fetches it:\n%s", page)
	}
	a.erich.browse(http.StatusFound, appPage+":v1/-/fetch") // opened as an address, it is the page
	if asked := u.Requests(); len(asked) > 0 {
		t.Fatalf("looking asks the upstream: %v", asked)
	}
	answer, _ := a.erich.page(http.StatusSeeOther, appPage+":v1/-/fetch", url.Values{})
	if to := answer.Header.Get("Location"); to != appPage+":v1" {
		t.Errorf("a visitor is led to %q", to)
	}
	if asked := strings.Join(u.Requests(), "\n"); strings.Contains(asked, layer.Encoded()) || strings.Count(asked, "/manifests/") > 3 {
		t.Errorf("the upstream was asked:\n%s", asked)
	}
	u.Forget()
	for _, want := range []string{"linux/amd64", "· not held", "Layers"} {
		a.Eventually(want+" is shown", func() bool { page = a.erich.browse(http.StatusOK, appPage+":v1"); return strings.Contains(page, want) })
	}
	if strings.Contains(page, "/-/fetch") {
		t.Errorf("the page offers to fetch what it has:\n%s", page)
	}
	page = a.erich.browse(http.StatusOK, appPage+":v1?platform=linux/arm64")
	if !strings.Contains(page, "Not held here") || !strings.Contains(page, `<input type="hidden" name="platform" value="linux/arm64">`) {
		t.Errorf("the other platform cannot be fetched:\n%s", page)
	}
	answer, _ = a.erich.page(http.StatusSeeOther, appPage+":v1/-/fetch", url.Values{"platform": {"linux/arm64"}})
	if to := answer.Header.Get("Location"); to != appPage+":v1?platform=linux%2Farm64" {
		t.Errorf("a visitor is led to %q", to)
	}
	a.Eventually("the platform is shown", func() bool {
		return !strings.Contains(a.erich.browse(http.StatusOK, appPage+":v1?platform=linux/arm64"), "not held")
	})

	// The documents of an artifact are fetched with it.
	config := `{"created":"2026-11-30T10:00:00Z","author":"ada","architecture":"wasm","os":"wasip2"}`
	u.Manifest("team/wasm", ocispec.MediaTypeImageManifest, mustJSON(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: "application/vnd.wasm.config.v0+json", Digest: u.Blob("team/wasm", []byte(config)), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{{MediaType: "application/wasm", Digest: u.Blob("team/wasm", []byte("\x00asm")), Size: 4}},
	}), "v1")
	a.erich.page(http.StatusSeeOther, "/images/docker.io/team/wasm:v1/-/fetch", url.Values{})
	a.Eventually("the artifact is shown", func() bool {
		page := a.erich.browse(http.StatusOK, "/images/docker.io/team/wasm:v1")
		return strings.Contains(page, "ada") && !strings.Contains(page, "It is not held here")
	})

	// A page says that the upstream gives nothing.
	for ref, want := range map[string]string{":none": "gives no such image", "@" + digest.FromString("none").String(): "gives no such image"} {
		if _, page := a.erich.page(http.StatusNotFound, appPage+ref+"/-/fetch", url.Values{}); !strings.Contains(page, want) {
			t.Errorf("%s: got %s", ref, page)
		}
	}
}

// A page says why an upstream gave nothing.
func TestAPageSaysWhyNothingWasFetched(t *testing.T) {
	for _, row := range []struct {
		upstream, status int
		has              string
		retry            bool
	}{
		{http.StatusServiceUnavailable, http.StatusBadGateway, "The upstream cannot be asked", false},
		{http.StatusTooManyRequests, http.StatusServiceUnavailable, "The upstream limits requests", true},
		{http.StatusForbidden, http.StatusNotFound, "The upstream gives no such image", false},
	} {
		u, _ := fetchable(t)
		a := newActingBy(t, fetchPolicy, registrytest.Mirror("docker.io", u))
		u.Fault(upstreamtest.Fault{Status: row.upstream})
		for _, path := range []string{appPage + ":v1/-/fetch", appPage + "/-/upstream"} {
			answer, page := a.erich.page(row.status, path, url.Values{})
			if !strings.Contains(page, row.has) || row.retry && answer.Header.Get("Retry-After") == "" {
				t.Errorf("%d at %s: got %v, %s", row.upstream, path, answer.Header, page)
			}
		}
	}
}

// Only who may fetch has an upstream asked, with a name or without one.
func TestOnlyThoseWhoMayFetchDo(t *testing.T) {
	u, _ := fetchable(t)
	a := newActingBy(t, fetchPolicy, registrytest.Mirror("docker.io", u))
	stranger := visit(t, a.port, nil)
	for _, path := range []string{appPage + ":v1", appPage, appPage + "/-/upstream"} {
		for name, v := range map[string]*visitor{"ci": a.ci, "a stranger": stranger} {
			if page := v.browse(http.StatusNotFound, path); strings.Contains(page, "/-/fetch") || strings.Contains(page, "/-/upstream") {
				t.Errorf("%s may fetch at %s:\n%s", name, path, page)
			}
		}
	}
	for _, path := range []string{appPage + ":v1/-/fetch", appPage + "/-/upstream"} {
		if _, page := a.ci.page(http.StatusForbidden, path, url.Values{}); !strings.Contains(page, "you may not let the mirror fetch what is not held") {
			t.Errorf("%s: got %s", path, page)
		}
		a.wantHeard("a refused fetch", observe.EventDenied, "repository:docker.io/team/app", "user:robot", "action:manifest", "status:403")
		stranger.page(http.StatusSeeOther, path, url.Values{})                                       // to sign in
		a.reader.page(http.StatusNotFound, strings.Replace(path, "team", "closed", 1), url.Values{}) // who may not even read
		request := []string{"Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded"}
		a.Want(http.StatusForbidden, "POST", strings.Replace(path, "team", "open", 1), nil, request...)
	}
	for _, path := range []string{"/images/team/app:v1/-/fetch", "/images/team/app/-/upstream", appPage + "/-/fetch", appPage + ":v1/-/upstream"} {
		a.erich.page(http.StatusNotFound, path, url.Values{})
	}
	if asked := u.Requests(); len(asked) > 0 {
		t.Fatalf("the upstream was asked: %v", asked)
	}
	stranger.page(http.StatusSeeOther, "/images/docker.io/open/app:v1/-/fetch", url.Values{})
	a.Eventually("a stranger sees it", func() bool {
		response, _ := a.Do("GET", "/images/docker.io/open/app:v1", nil, "Accept", "text/html")
		return response.StatusCode == http.StatusOK
	})
}

// The tags of an upstream are shown as it gave them last, and asked for by a form alone.
func TestTagsOfAnUpstreamAreShown(t *testing.T) {
	u, _ := fetchable(t)
	a := newActingBy(t, fetchPolicy, registrytest.Mirror("docker.io", u))
	page := a.erich.browse(http.StatusNotFound, appPage)
	if !strings.Contains(page, `href="`+appPage+`/-/upstream"`) {
		t.Fatalf("the upstream's tags are not offered:\n%s", page)
	}
	if page := a.erich.browse(http.StatusOK, appPage+"/-/upstream"); !strings.Contains(page, "was not asked for its tags") {
		t.Errorf("before: got %s", page)
	}
	a.ci.browse(http.StatusNotFound, appPage+"/-/upstream")
	if asked := u.Requests(); len(asked) > 0 {
		t.Fatalf("looking asks the upstream: %v", asked)
	}
	answer, _ := a.erich.page(http.StatusSeeOther, appPage+"/-/upstream", url.Values{})
	if to := answer.Header.Get("Location"); to != appPage+"/-/upstream" {
		t.Errorf("a visitor is led to %q", to)
	}
	u.Forget()
	// All who may read see it.
	for _, v := range []*visitor{a.erich, a.ci} {
		page := v.browse(http.StatusOK, appPage+"/-/upstream")
		for _, tag := range []string{"amd", "arm", "v1"} {
			if !strings.Contains(page, `href="`+appPage+":"+tag+`"`) {
				t.Errorf("%s is not shown:\n%s", tag, page)
			}
		}
		if asks := strings.Contains(page, "Ask docker.io now"); asks != (v == a.erich) {
			t.Errorf("may ask: %v", asks)
		}
	}
	if page := a.erich.browse(http.StatusOK, appPage+"/-/upstream?tag=A"); strings.Contains(page, ">v1<") || !strings.Contains(page, ">arm<") {
		t.Errorf("the filter shows %s", page)
	}
	a.reader.browse(http.StatusNotFound, "/images/docker.io/closed/app/-/upstream")
	if asked := u.Requests(); len(asked) > 0 {
		t.Fatalf("looking asks the upstream: %v", asked)
	}
	if _, page := a.erich.page(http.StatusNotFound, "/images/docker.io/team/none/-/upstream", url.Values{}); !strings.Contains(page, "gives no such image") {
		t.Errorf("an unknown repository: got %s", page)
	}

	// A long list has pages.
	var tags []string
	for i := range 120 {
		tags = append(tags, fmt.Sprintf("r%03d", i))
	}
	u.Manifest("team/long", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`), tags...)
	a.erich.page(http.StatusSeeOther, "/images/docker.io/team/long/-/upstream", url.Values{})
	seen := map[string]bool{}
	for path, n := "/images/docker.io/team/long/-/upstream", 0; path != "" && n < 10; n++ {
		page := a.erich.browse(http.StatusOK, path)
		for _, tag := range tags {
			if strings.Contains(page, `href="/images/docker.io/team/long:`+tag+`"`) {
				seen[tag] = true
			}
		}
		path = ""
		if next := regexp.MustCompile(`href="([^"#]*)#tags" rel="next"`).FindStringSubmatch(page); next != nil {
			path = html.UnescapeString(next[1])
		}
	}
	if len(seen) != len(tags) {
		t.Errorf("%d of %d tags are shown", len(seen), len(tags))
	}
	var listed []string
	for after, n := "", 0; n < 10; n++ {
		_, data := a.Want(http.StatusOK, "GET", "/api/images/docker.io/team/long/-/upstream?n=50&after="+after, nil, "Authorization", "Bearer "+a.key)
		var answer api.UpstreamAnswer
		if err := json.Unmarshal(data, &answer); err != nil || answer.AsOf.IsZero() {
			t.Fatalf("got %s, %v", data, err)
		}
		listed = append(listed, answer.Tags...)
		if after = answer.After; !answer.More {
			break
		}
	}
	if !slices.Equal(listed, tags) {
		t.Errorf("the API lists %q", listed)
	}
}

// An administrator is led from an image's name to the review of what the mirror forgets.
func TestAMirrorIsPurgedFromItsPage(t *testing.T) {
	u, _ := fetchable(t)
	a := newActingBy(t, fetchPolicy, registrytest.Mirror("docker.io", u))
	a.erich.page(http.StatusSeeOther, appPage+":v1/-/fetch", url.Values{})
	a.Eventually("the image is held", func() bool { return slices.Contains(a.held("docker.io/team/app"), "v1") })
	for text, want := range map[string]string{
		"team/app:v1": appPage + "/-/delete?tag=v1", "docker.io/team/app": appPage + "/-/delete", " team/app:v1 ": appPage + "/-/delete?tag=v1",
		"nginx": "/images/docker.io/library/nginx/-/delete",
	} {
		answer, _ := a.erich.page(http.StatusSeeOther, "/mirrors/docker.io?"+url.Values{"purge": {text}}.Encode(), nil)
		if to := answer.Header.Get("Location"); to != want {
			t.Errorf("%s leads to %q, want %q", text, to, want)
		}
	}
	a.erich.page(http.StatusNotFound, "/mirrors/docker.io?"+url.Values{"purge": {"UPPER/../x"}}.Encode(), nil)
	page := a.erich.browse(http.StatusOK, appPage+"/-/delete?tag=v1")
	a.erich.page(http.StatusOK, appPage+"/-/delete", forms(page)["images"])
	if got := a.held("docker.io/team/app"); got != nil {
		t.Errorf("the mirror holds %q", got)
	}
}
