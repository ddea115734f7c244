package signin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/eblume/caddy-registry/integration/chromium"
	"github.com/eblume/caddy-registry/integration/server"
)

// walk is one person's way through all pages, in one kind of browser.
type walk struct {
	*house
	name    string
	tag     string // that the person pushes
	scripts bool
}

// TestPeopleFindTheirWay has a user of CI and an administrator sign in with a real provider, make a
// key, push with it, find and read the image, point a tag back and delete it as far as they may,
// revoke the key and sign out, and a visitor look: on a desk with scripts and in the light, and on a
// phone without scripts and in the dark.
func TestPeopleFindTheirWay(t *testing.T) {
	h := begin(t, map[string]person{"erin": {Groups: []string{"admins"}}, "zot-ci": {Groups: []string{"artifact-workloads"}}})
	for _, one := range []struct {
		walk
		screen chromium.Screen
		theme  chromium.Theme
	}{
		{walk{h, "zot-ci", "v1", true}, chromium.Desk, chromium.Light},
		{walk{h, "erin", "v2", false}, chromium.Phone, chromium.Dark},
	} {
		if err := chromium.Show(h.browser.ctx, one.screen, one.theme); err != nil {
			t.Fatal(err)
		}
		if err := chromium.Scripts(h.browser.ctx, one.scripts); err != nil {
			t.Fatal(err)
		}
		one.goes()
	}
}

func (w walk) goes() {
	b := w.browser
	w.Helper()
	if got := b.open("/"); !strings.Contains(got, "You are not signed in") {
		w.Fatalf("before the sign-in the page has %s", got)
	}
	b.do("sign in as "+w.name, chromedp.Click(headerSignIn), chromedp.Click(signInButton), atProvider(w.name))
	key := b.makeKey("walk")
	w.copies(key)
	image := imageDir(w.T)
	if out, err := w.push(image, w.name+":"+key, w.tag); err != nil {
		w.Fatalf("push by the new key: %v: %s", err, out)
	}
	digest, layers := contentOf(w.T, image)
	w.find(digest, layers)
	w.acts(key)

	list := b.open("/user/apikey")
	if !strings.Contains(list, "from 127.0.0.1") || strings.Contains(list, key) {
		w.Errorf("the list does not say from where the key was used, or shows it: %s", list)
	}
	b.do("revoke", chromedp.Click(chromedp.CSS(`a[aria-label="Revoke walk"]`)), chromedp.WaitVisible(sureButton),
		chromedp.Click(sureButton), chromedp.WaitVisible(revoked("walk")))
	if out, err := w.push(image, w.name+":"+key, w.tag+"-again"); err == nil {
		w.Errorf("the revoked key pushes: %s", out)
	}
	b.open("/logout")
	b.do("sign out", chromedp.Click(mainButton), chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Signed out")]`)))

	// A visitor finds the image, too, and no key.
	w.find(digest, layers)
	for _, path := range []string{"/user/apikey", "/user/apikey/new", "/user/apikey/made", "/admin/keys", "/admin/users"} {
		if got := b.open(path); !strings.Contains(got, "/login?return=") {
			w.Errorf("%s shows a visitor %s", path, got)
		}
	}
	// The provider has its own session with this browser, which ends with its page.
	b.do("sign out at the provider", chromedp.Navigate(w.issuer+"session/end"), chromedp.Click(yes), chromedp.WaitNotPresent(yes))
}

// acts points a tag back and deletes it after a review, with scripts and without. A user of CI may do
// neither, and is not offered it.
func (w walk) acts(key string) {
	w.Helper()
	b, app := w.browser, "/images/blumeops/app"
	if w.name != "erin" {
		if got := b.open(app + ":" + w.tag); strings.Contains(got, "Delete …") {
			w.Errorf("%s is offered to delete: %s", w.name, got)
		}
		got := b.open(app + "/-/delete?tag=" + w.tag)
		if !strings.Contains(got, "delete") || strings.Contains(got, "Remove the tag only") {
			w.Errorf("%s reviews a deletion: %s", w.name, got)
		}
		return
	}
	for tag, scripts := range map[string]bool{"plain": false, "scripted": true} {
		if err := chromium.Scripts(b.ctx, scripts); err != nil {
			w.Fatal(err)
		}
		var digests []string
		for range 2 {
			image := imageDir(w.T)
			if out, err := w.push(image, w.name+":"+key, tag); err != nil {
				w.Fatalf("push of %s: %v: %s", tag, err, out)
			}
			digest, _ := contentOf(w.T, image)
			digests = append(digests, digest)
		}
		first, second := digests[0], digests[1]
		back := "Point it back … to " + first[len("sha256:"):len("sha256:")+12]
		deletion := chromedp.Click(chromedp.CSS(`main a[href*="/-/delete?"]`))
		b.open(app + ":" + tag)
		b.do("point "+tag+" back",
			chromedp.Click(chromedp.CSS(`main a[href$="/-/history"]`)),
			chromedp.Click(chromedp.CSS(`main a[aria-label="`+back+`"]`)),
			chromedp.Click(chromedp.CSS(`button[name=do][value=back]`)),
			chromedp.WaitVisible(chromedp.Search(`//main//p[contains(., "`+first+`")]`)))
		w.names(tag, http.StatusOK, first)
		w.names(second, http.StatusOK, second)

		b.do("review", deletion, chromedp.WaitVisible(chromedp.Search(`//h2[contains(., "Delete the image")]`)))
		for _, text := range []string{"1 manifest goes now, with 1 tag.", "The images stay"} {
			if got := b.page(); !strings.Contains(got, text) {
				w.Errorf("the review has no %q: %s", text, got)
			}
		}
		w.names(tag, http.StatusOK, first)
		b.do("remove the tag", chromedp.Click(chromedp.CSS(`button[name=do][value=tags]`)),
			chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "1 tag is removed")]`)))
		w.names(tag, http.StatusNotFound, "")
		w.names(first, http.StatusOK, first)

		b.open(app + "@" + first)
		b.do("delete the image", deletion, chromedp.Click(chromedp.CSS(`button[name=do][value=images]`)),
			chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "1 manifest is deleted")]`)))
		w.names(first, http.StatusNotFound, "")
		w.names(second, http.StatusOK, second)
	}
	if err := chromium.Scripts(b.ctx, w.scripts); err != nil {
		w.Fatal(err)
	}
}

// names checks what clients are told of a tag or digest of blumeops/app.
func (w walk) names(ref string, status int, digest string) {
	w.Helper()
	response, err := server.Client(patience).Head(w.URL + "/v2/blumeops/app/manifests/" + ref)
	if err != nil {
		w.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("Docker-Content-Digest"); response.StatusCode != status || got != digest {
		w.Errorf("%s answers %d and names %q, want %d and %q", ref, response.StatusCode, got, status, digest)
	}
}

// copies checks that the new key can be copied by a button, which scripts add, and that reloading the
// page makes no other key.
func (w walk) copies(key string) {
	w.Helper()
	b := w.browser
	buttons, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.querySelectorAll("button.copy").length`))
	if err != nil {
		w.Fatal(err)
	}
	if (buttons > 0) != w.scripts {
		w.Errorf("with scripts %v the page has %d buttons that copy", w.scripts, buttons)
	}
	b.do("reload", chromedp.Reload(), chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "not shown again")]`)))
	if got := b.open("/user/apikey"); strings.Count(got, "Revoke …") != 1 {
		w.Errorf("after a reload the list is %s", got)
	}
}

// find finds the image by its name, its tag and the beginning of its digest, and reads its layers.
func (w walk) find(digest string, layers []string) {
	w.Helper()
	b := w.browser
	for query, link := range map[string]string{
		"app":                     "/images/blumeops/app",
		"app:" + w.tag:            "/images/blumeops/app:" + w.tag,
		digest[:len("sha256:")+8]: "/images/blumeops/app@" + digest,
	} {
		b.open("/")
		found := chromedp.CSS(`main td a[href="` + link + `"]`)
		b.do("search "+query, chromedp.SendKeys(chromedp.CSS(`header input[name=q]`), query+"\r"),
			chromedp.WaitVisible(found), chromedp.Click(found), chromedp.WaitVisible(chromedp.Search(`//p[@class="crumb"]/a[contains(., "blumeops")]`)))
		if got := b.page(); !strings.Contains(got, w.URL+link) {
			w.Errorf("%s leads to %s", query, got)
		}
	}
	b.open("/images/blumeops/app")
	b.do("open the tag", chromedp.Click(chromedp.CSS(`main td a[href="/images/blumeops/app:`+w.tag+`"]`)),
		chromedp.WaitVisible(chromedp.CSS(".layers")))
	html, err := chromedp.Run(b.ctx, chromedp.OuterHTML(chromedp.CSS("main")))
	if err != nil {
		w.Fatal(err)
	}
	for _, layer := range layers {
		if !strings.Contains(html, layer[len("sha256:"):len("sha256:")+12]) {
			w.Errorf("the page of the image lacks the layer %s:\n%s", layer, html)
		}
	}
	if got := w.keys(""); got != http.StatusUnauthorized {
		w.Errorf("without a cookie the API of the keys answers %d", got)
	}
}

// headerSignIn is the link in the header.
const headerSignIn = chromedp.CSS(`header nav.account a`)

// contentOf returns the digests of an image and its layers.
func contentOf(t *testing.T, dir string) (image string, layers []string) {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	one, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	all, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range all {
		d, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, d.String())
	}
	return manifest.Manifests[0].Digest.String(), layers
}
