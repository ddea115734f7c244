package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// acting is a registry with an administrator, somebody who may only create, and somebody who may read.
type acting struct {
	*registrytest.Registry
	port              int
	erich, ci, reader *visitor
	key               string
	extra             digest.Digest // of a referrer that came later
}

const actingPolicy = `policy {
	allow anonymous read on public/**
	allow group friends * on team/** public/** docker.io/** evil/**
	allow group ci read create on team/**
	allow group readers read on team/**
}
`

func newActing(t *testing.T, more string) *acting {
	t.Helper()
	return newActingBy(t, actingPolicy, more)
}

func newActingBy(t *testing.T, policy, more string) *acting {
	t.Helper()
	port, people := registrytest.FreePort(t), ""
	for user, group := range map[string]string{"erich": "friends", "robot": "ci", "rita": "readers", "bob": "others"} {
		people += "local_user " + user + " " + registrytest.PasswordHash() + " " + group + "\n"
	}
	registrytest.Load(t, strings.Replace(registrytest.Caddyfile(port, t.TempDir(), people+policy+more, ""), "admin off", "admin off\nevents {\non * oci_test\n}", 1))
	a := &acting{Registry: registrytest.At(t, port), port: port}
	a.erich, a.ci, a.reader = signedIn(t, port, "erich"), signedIn(t, port, "robot"), signedIn(t, port, "rita")
	a.key = a.erich.makeKey()
	return a
}

// put pushes a manifest with an API key.
func (a *acting) put(repo, mediaType string, manifest any, tags ...string) ocispec.Descriptor {
	a.Helper()
	data := mustJSON(a.T, manifest)
	d := digest.FromBytes(data)
	for _, ref := range append([]string{d.String()}, tags...) {
		a.Want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(data), "Authorization", "Bearer "+a.key, "Content-Type", mediaType)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (a *acting) index(repo string, images []ocispec.Descriptor, tags ...string) ocispec.Descriptor {
	a.Helper()
	return a.put(repo, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: images}, tags...)
}

func (a *acting) image(repo, layer string, tags ...string) ocispec.Descriptor {
	a.Helper()
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest}
	for _, tag := range append(slices.Clone(tags), "once") {
		if tag == "once" && len(tags) > 0 {
			break
		}
		d.Digest = pushAs(a.Registry, a.key, repo, tag, []byte(layer))
		if tag == "once" {
			a.Want(http.StatusAccepted, "DELETE", "/v2/"+repo+"/manifests/once", nil, "Authorization", "Bearer "+a.key)
		}
	}
	_, data := a.Want(http.StatusOK, "GET", "/v2/"+repo+"/manifests/"+d.Digest.String(), nil, "Authorization", "Bearer "+a.key, "Accept", d.MediaType)
	d.Size = int64(len(data))
	return d
}

// wantHeard takes the events that were told since the last call: one must have all words.
func (a *acting) wantHeard(what string, words ...string) {
	a.Helper()
	heard.Lock()
	defer heard.Unlock()
	events := heard.events
	heard.events = nil
	if !slices.ContainsFunc(events, func(event string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(event, word) })
	}) {
		a.Errorf("%s: heard %q, want %q", what, events, words)
	}
}

// attach pushes an SBOM.
func (a *acting) attach(repo string, subject ocispec.Descriptor, note string) ocispec.Descriptor {
	a.Helper()
	empty := ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: digest.FromString("{}"), Size: 2}
	return a.put(repo, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/spdx+json",
		Config: empty, Subject: &subject, Layers: []ocispec.Descriptor{empty}, Annotations: map[string]string{"note": note},
	})
}

// held are the tags and manifests of a repository, as the API lists them.
func (a *acting) held(repo string) (all []string) {
	a.Helper()
	for _, path := range []string{"tags?n=500", "images?n=500"} {
		response, body := a.Do("GET", "/api/images/"+repo+"/-/"+path, nil, "Authorization", "Bearer "+a.key)
		if response.StatusCode == http.StatusNotFound {
			continue
		}
		var list struct {
			Tags   []struct{ Name string }
			Images []struct{ Digest string }
		}
		if err := json.Unmarshal(body, &list); err != nil {
			a.Fatal(err)
		}
		for _, tag := range list.Tags {
			all = append(all, tag.Name)
		}
		for _, image := range list.Images {
			all = append(all, image.Digest[7:19])
		}
	}
	slices.Sort(all)
	return all
}

// forms are the forms of a page that send fields, by the value of their button.
func forms(body string) map[string]url.Values {
	found := map[string]url.Values{}
	for _, form := range regexp.MustCompile(`(?s)<form method="post" action="[^"]*/-/(?:delete|back)">(.*?)</form>`).FindAllStringSubmatch(body, -1) {
		values := url.Values{}
		for _, input := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(form[1], -1) {
			values.Add(input[1], html.UnescapeString(input[2]))
		}
		if button := regexp.MustCompile(`<button[^>]* name="do" value="([^"]*)"`).FindStringSubmatch(form[1]); button != nil {
			values.Set("do", button[1])
			found[button[1]] = values
		}
	}
	return found
}

const reviewOf = "/images/team/app/-/delete?tag="

func TestADeletionIsReviewed(t *testing.T) {
	a := newActing(t, "")
	const repo = "team/app"
	amd, arm := a.image(repo, "amd64"), a.image(repo, "arm64")
	amd.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	root := a.index(repo, []ocispec.Descriptor{amd, arm}, "v1", "latest")
	other := a.index(repo, []ocispec.Descriptor{arm}, "v2")
	sbom := a.attach(repo, root, "first")
	before := a.held(repo)
	page := a.erich.browse(http.StatusOK, "/images/"+repo)
	for _, want := range []string{`<input type="checkbox" name="tag" value="v1"`, `href="/images/team/app/-/delete"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the repository has no %q:\n%s", want, page)
		}
	}
	if page := a.erich.browse(http.StatusOK, "/images/team/app:v1"); !strings.Contains(page, `href="/images/team/app/-/delete?tag=v1"`) {
		t.Error("the image has no link to its deletion")
	}
	_, page = a.erich.page(http.StatusOK, "/images/team/app/-/delete", url.Values{"tag": {"v1"}}) // as the table sends it
	for _, want := range []string{"3 manifests go now, with 2 tags", "linux/amd64", short12(amd.Digest), "SBOM", short12(sbom.Digest), "latest, v1",
		"What belongs to it and stays", short12(arm.Digest), "until somebody deletes it", "at most"} {
		if !strings.Contains(page, want) {
			t.Errorf("the review has no %q:\n%s", want, page)
		}
	}
	if got := a.held(repo); !slices.Equal(got, before) {
		t.Errorf("looking at a review deletes: got %q, want %q", got, before)
	}

	// Only the tag.
	tagsOnly := forms(page)["tags"]
	a.erich.page(http.StatusOK, "/images/team/app/-/delete", tagsOnly)
	a.wantHeard("a removed tag", observe.EventDelete, "kind:tag", "tag:v1", "repository:team/app", "user:erich")
	want := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return name == "v1" })
	if got := a.held(repo); !slices.Equal(got, want) {
		t.Errorf("without the tag: got %q, want %q", got, want)
	}
	a.erich.page(http.StatusNotFound, "/images/team/app/-/delete", tagsOnly) // sent again

	// The image, after something changed three times.
	stale := forms(a.erich.browse(http.StatusOK, reviewOf+"latest"))["images"]
	for what, change := range map[string]func(){
		"a new referrer": func() { a.extra = a.attach(repo, root, "one more").Digest },
		"a new tag":      func() { a.index(repo, []ocispec.Descriptor{amd, arm}, "again") },
		"a new index":    func() { a.index(repo, []ocispec.Descriptor{amd, other}, "v3") },
	} {
		change()
		now := a.held(repo)
		_, page := a.erich.page(http.StatusConflict, "/images/team/app/-/delete", stale)
		if !strings.Contains(page, "Something changed since you looked at this, so nothing was deleted") {
			t.Errorf("%s: got %s", what, page)
		}
		if got := a.held(repo); !slices.Equal(got, now) {
			t.Errorf("%s: got %q, want %q", what, got, now)
		}
		stale = forms(page)["images"]
	}
	now := a.held(repo)
	_, page = a.erich.page(http.StatusOK, "/images/team/app/-/delete", stale)
	a.wantHeard("a deleted image", observe.EventDelete, "kind:manifest", "tags:[again latest]", "repository:team/app", "user:erich")
	want = slices.DeleteFunc(slices.Clone(now), func(name string) bool {
		return slices.Contains([]string{"again", "latest", short12(root.Digest), short12(sbom.Digest), short12(a.extra)}, name)
	})
	if got := a.held(repo); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q; the page: %s", got, want, page)
	}

	// The repository.
	page = a.erich.browse(http.StatusOK, "/images/team/app/-/delete")
	whole := forms(page)["repository"]
	whole.Set("name", "team/other")
	a.erich.page(http.StatusBadRequest, "/images/team/app/-/delete", whole)
	whole.Set("name", repo)
	a.image(repo, "pushed meanwhile", "new")
	_, page = a.erich.page(http.StatusConflict, "/images/team/app/-/delete", whole)
	whole = forms(page)["repository"]
	whole.Set("name", repo)
	if _, page = a.erich.page(http.StatusOK, "/images/team/app/-/delete", whole); !strings.Contains(page, "The repository is deleted") {
		t.Errorf("got %s", page)
	}
	if got := a.held(repo); got != nil {
		t.Errorf("the repository has %q", got)
	}
}

// A caller who may not delete sees no button, is refused by hand, and a form of another site changes nothing.
func TestOnlyThoseWhoMayDeleteDo(t *testing.T) {
	a := newActing(t, "")
	a.image("team/app", "one", "v1")
	a.image("team/app", "two", "v1")
	a.image("public/app", "one", "v1")
	sent := func(form url.Values) url.Values { form.Set("do", "images"); return form }
	stolen := forms(a.erich.browse(http.StatusOK, reviewOf+"v1"))["images"]
	before := a.held("team/app")
	for name, v := range map[string]*visitor{"ci": a.ci, "reader": a.reader} {
		for _, path := range []string{"/images/team/app", "/images/team/app:v1", "/images/team/app:v1/-/history"} {
			if page := v.browse(http.StatusOK, path); strings.Contains(page, "/-/delete") || strings.Contains(page, "/-/back") || strings.Contains(page, "checkbox") {
				t.Errorf("%s sees a button at %s", name, path)
			}
		}
		v.browse(http.StatusForbidden, reviewOf+"v1")
		_, page := v.page(http.StatusForbidden, "/images/team/app/-/delete", sent(stolen))
		if !strings.Contains(page, "you may not delete in team/app") {
			t.Errorf("%s is told %s", name, page)
		}
	}
	a.wantHeard("a refused deletion", observe.EventDenied, "repository:team/app", "user:robot", "action:delete_manifest", "status:403")

	// Repositories that may not be read look as if they did not exist.
	for name, v := range map[string]*visitor{"anonymous": visit(t, a.port, nil), "bob": signedIn(t, a.port, "bob")} {
		for _, tail := range []string{"/-/delete", "/-/delete?tag=v1", "/-/delete?image=" + digest.FromString("x").String(), ":v1/-/back?to=" + digest.FromString("x").String()} {
			denied, absent := v.browse(http.StatusNotFound, "/images/team/app"+tail), v.browse(http.StatusNotFound, "/images/team/abs"+tail)
			if strings.ReplaceAll(denied, "app", "abs") != strings.ReplaceAll(absent, "app", "abs") {
				t.Errorf("%s sees at %s:\n%s\nand for what is not there:\n%s", name, tail, denied, absent)
			}
		}
		_, denied := v.page(http.StatusNotFound, "/images/team/app/-/delete", sent(stolen))
		_, absent := v.page(http.StatusNotFound, "/images/team/abs/-/delete", sent(stolen))
		if strings.ReplaceAll(denied, "app", "abs") != strings.ReplaceAll(absent, "app", "abs") {
			t.Errorf("%s who sends a form sees:\n%s\nand for what is not there:\n%s", name, denied, absent)
		}
	}
	// A visitor who may read signs in first.
	stranger := visit(t, a.port, nil)
	response, _ := stranger.page(http.StatusSeeOther, "/images/public/app/-/delete", url.Values{"tag": {"v1"}, "do": {"tags"}})
	if got := response.Header.Get("Location"); got != "/login?return=%2Fimages%2Fpublic%2Fapp%2F-%2Fdelete%3Ftag%3Dv1" {
		t.Errorf("a stranger is led to %q", got)
	}

	// Another site's form has the cookie, if a browser is old, and is refused nevertheless.
	address, err := url.Parse(a.Base)
	if err != nil {
		t.Fatal(err)
	}
	cookie := a.erich.client.Jar.Cookies(address)[0].String()
	for _, fields := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		for path, form := range map[string]url.Values{"/images/team/app/-/delete": sent(stolen), "/images/team/app:v1/-/back": {"do": {"back"}}} {
			_, body := a.Want(http.StatusForbidden, "POST", path, strings.NewReader(form.Encode()),
				append(fields, "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded")...)
			if !strings.Contains(string(body), "This form came from elsewhere") {
				t.Errorf("%q: got %s", fields, body)
			}
		}
	}
	// The cookie is none where others could read it.
	response, _ = a.Do("POST", "/images/team/app/-/delete", strings.NewReader(stolen.Encode()), "Cookie", cookie,
		"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", "192.0.2.1")
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("over plain HTTP: got %d", response.StatusCode)
	}
	if got := a.held("team/app"); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
	// Broken forms change nothing.
	a.erich.page(http.StatusBadRequest, "/images/team/app/-/delete", url.Values{"tag": {"v1"}, "do": {"everything"}})
	a.erich.page(http.StatusBadRequest, "/images/team/app/-/delete", url.Values{"x": {strings.Repeat("x", 70_000)}})
	many := url.Values{}
	for i := range 101 {
		many.Add("tag", fmt.Sprint("v", i))
	}
	a.erich.page(http.StatusBadRequest, "/images/team/app/-/delete", many)
	for _, form := range []url.Values{{"tag": {"<script>"}}, {"image": {"sha256:<b>"}}, {"tag": {"absent"}}, {"image": {digest.FromString("x").String()}}} {
		if _, page := a.erich.page(http.StatusNotFound, "/images/team/app/-/delete", form); strings.Contains(page, "<script>alert") || strings.Contains(page, "<b>") {
			t.Errorf("the page has what was sent: %s", page)
		}
	}
	if got := a.held("team/app"); !slices.Equal(got, before) {
		t.Errorf("got %q, want %q", got, before)
	}
}

// A mirror's content is deleted as by the protocol, and its tags follow the upstream.
func TestDeletingFromAMirror(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Config{})
	first, _ := registrytest.PutImage(t, u, "team/app", "v1", registrytest.RandomBytes(100))
	a := newActing(t, registrytest.Mirror("docker.io", u))
	bearer := []string{"Authorization", "Bearer " + a.key}
	a.Want(http.StatusOK, "GET", "/v2/docker.io/team/app/manifests/v1", nil, bearer...)
	a.Eventually("the image is held", func() bool { return slices.Contains(a.held("docker.io/team/app"), "v1") })
	page := a.erich.browse(http.StatusOK, "/images/docker.io/team/app/-/delete?tag=v1")
	for _, want := range []string{"The next pull asks docker.io", "A pull fetches it from docker.io again"} {
		if !strings.Contains(page, want) {
			t.Errorf("the review has no %q:\n%s", want, page)
		}
	}
	if page := a.erich.browse(http.StatusOK, "/images/docker.io/team/app"); !strings.Contains(page, "nothing is pushed to a mirror") {
		t.Errorf("the page does not say why nothing can be pushed:\n%s", page)
	}
	requests := len(u.Requests())
	a.erich.page(http.StatusOK, "/images/docker.io/team/app/-/delete", forms(page)["images"])
	if got := a.held("docker.io/team/app"); got != nil || len(u.Requests()) != requests {
		t.Errorf("the mirror holds %q; it asked %d times", got, len(u.Requests())-requests)
	}
	a.Want(http.StatusOK, "GET", "/v2/docker.io/team/app/manifests/v1", nil, bearer...)
	a.Eventually("the image is held again", func() bool { return slices.Contains(a.held("docker.io/team/app"), short12(first)) })
}

// The pages that act are as finite as the others, and hostile texts stay texts there.
func TestPagesThatActAreFiniteAndSafe(t *testing.T) {
	a := newActing(t, "")
	root := a.image("evil/app", "one", "v1", "v2")
	a.image("evil/app", "two", "v1")
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: digest.FromString("{}"), Size: 2}
	const hostile = "x/<script>alert(1)</script>\u202e\x1b[31m"
	a.put("evil/app", ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"artifactType": hostile, "config": config, "layers": []any{config}, "subject": root})
	root.Platform = &ocispec.Platform{OS: hostile, Architecture: `"><img src=x onerror=alert(1)>`}
	a.index("evil/app", []ocispec.Descriptor{root}, "index")
	seen, queue := map[string]bool{"/logout": true}, []string{"/images/evil/app"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		if seen[path] = true; len(seen) > 300 {
			t.Fatal("there are more links than a registry of one repository has")
		}
		if !strings.HasPrefix(path, "/images") || strings.Contains(path, "/-/file/") { // downloads are no pages
			continue
		}
		if strings.HasSuffix(path, "/-/back") { // without what to point to
			a.erich.page(http.StatusFound, path, nil)
			continue
		}
		body := a.erich.browse(http.StatusOK, path)
		for _, not := range []string{"<script>alert", "<img", "\u202e", "\x1b"} {
			if strings.Contains(body, not) {
				t.Errorf("%s has %q", path, not)
			}
		}
		for _, found := range links.FindAllStringSubmatch(body, -1) {
			to, _, _ := strings.Cut(html.UnescapeString(found[1]), "#")
			queue = append(queue, to)
		}
	}
	page := a.erich.browse(http.StatusOK, "/images/evil/app?kind=untagged")
	if strings.Contains(page, short12(root.Digest)) || !strings.Contains(page, `aria-current="true">Without a tag`) || !strings.Contains(page, "alert(1)") {
		t.Errorf("the images without a tag are %s", page)
	}
	for _, want := range []string{"/images/evil/app/-/delete", "/images/evil/app/-/delete?tag=v1", "/images/evil/app?kind=untagged"} {
		if !seen[want] {
			t.Errorf("no page leads to %s", want)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(path string) bool { return strings.Contains(path, ":v1/-/back?to=") }) {
		t.Error("no page leads to pointing a tag back")
	}
}
