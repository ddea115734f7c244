package pages

import (
	"context"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/chromium"
)

// unit makes the layers of the tests small.
const unit = 1000

// shown is a page in one of its states.
type shown struct {
	name string // of its picture
	// path is where it is. Empty: where the last page was.
	path string
	// before leads to the state, on the page at path.
	before []chromedp.Action[chromedp.Void]
	// texts are in it.
	texts []string
	// pictured pages are among the screenshots.
	pictured bool
}

// click is a click that leads to another page with a heading.
func click(selector, heading string) []chromedp.Action[chromedp.Void] {
	return []chromedp.Action[chromedp.Void]{chromedp.Click(chromedp.CSS(selector)),
		chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "` + heading + `")]`))}
}

// brief is how pages show a digest.
func brief(d digest.Digest) string { return d.Encoded()[:12] }

// forVisitors are pages without a session.
func (h *house) forVisitors() []shown {
	const home = "/images/blumeops/homepage"
	short := brief(h.index)
	return []shown{
		{"start", "/", nil, []string{"blumeops/homepage", "docker.io", "Private"}, true},
		{"list", "/images", nil, []string{"blumeops/homepage", "charts/homepage"}, true},
		{"list of a mirror", "/images?in=docker.io&order=pull", nil, []string{"library/postgres"}, true},
		{"search", "/images?q=home", nil, []string{"blumeops/homepage", "home-assistant"}, true},
		{"search by tag", "/images?q=homepage:v1.10.2", nil, []string{"blumeops/homepage:v1.10.2"}, false},
		{"search by digest", "/images?q=sha256:" + short, nil, []string{short}, false},
		{"search without result", "/images?q=nothing-of-this-name", nil, []string{"Nothing here has this name"}, true},
		{"search that is wrong", "/images?q=sha256:xyz", nil, []string{"Search", "sha256"}, false},
		{"repository", "/images/blumeops/homepage", nil, []string{"v1.10.2", "latest", "docker pull"}, true},
		{"tags without result", "/images/blumeops/homepage?tag=none", nil, []string{"No tag has"}, false},
		{"charts", "/images/charts/homepage", nil, []string{"0.7.1"}, false},
		{"chart", "/images/charts/homepage:0.7.1", nil,
			[]string{"Helm chart", "The start page of the homelab, on k3s.", "redis", "helm pull"}, true},
		{"WebAssembly", "/images/tools/hello:0.1.0", nil,
			[]string{"WebAssembly", "wasi:http/incoming-handler@0.2.0", "wasi:http/proxy@0.2.0"}, false},
		{"untagged", home + "?kind=untagged", nil, []string{brief(h.untagged)}, true},
		{"bill of materials", home + "@" + string(h.sbom), nil,
			[]string{"SPDX-2.3", "syft-1.38.0", "openssl", "1 to 50 of 74"}, true},
		{"rows of a bill", home + "@" + string(h.sbom), click(`a[rel=next]`, brief(h.sbom)),
			[]string{"51 to 74 of 74", "First rows"}, false},
		{"no such row", home + "@" + string(h.sbom) + "?of=" + string(digest.FromString("none")) + "&find=log4j", nil,
			[]string{brief(h.sbom)}, false},
		{"signature", home + "@" + string(h.signature), nil,
			[]string{"workflows/build.yml@refs/tags/v1.10.2", "not verified here"}, true},
		{"mirrors", "/mirrors", nil, []string{"docker.io", "Limited", "Not asked yet", "Left alone until"}, true},
		{"mirror", "/mirrors/docker.io", nil, []string{"Asked in 24 hours", "library/nginx", "Reachable"}, true},
		{"limited mirror", "/mirrors/ghcr.io", nil, []string{"The upstream limits requests"}, true},
		{"mirror nobody asked", "/mirrors/quay.io", nil, []string{"Not asked yet", "None that you may see"}, false},
		{"no such mirror", "/mirrors/gcr.io", nil, []string{"Nothing is here"}, false},
		{"activity", "/activity", nil, []string{"blumeops/homepage", "Moved"}, true},
		{"activity of a repository", "/activity?repo=blumeops/quartz", nil,
			[]string{"blumeops/quartz", "v2026.11.4"}, false},
		{"no activity", "/activity?repo=secrets/vault", nil, []string{"Nothing has happened that you may see"}, false},
		{"storage is not for visitors", "/admin/storage", nil, []string{"Nothing is here"}, false},
		{"delete as a visitor", home + "/-/delete?tag=v1.9.3", nil, []string{"Password"}, false},
		{"repository of a mirror", "/images/docker.io/library/postgres", nil, []string{"18.1"}, true},
		{"image", "/images/blumeops/homepage:v1.10.2", nil, []string{"linux/arm64", "COPY .next"}, true},
		{"image by digest", "/images/blumeops/homepage@" + string(h.child), nil, []string{string(h.child)}, false},
		{"image of a mirror", "/images/docker.io/library/postgres:18", nil, []string{"postgresql-18"}, false},
		{"history", "/images/blumeops/homepage:latest/-/history", nil, []string{"latest"}, true},
		{"not found", "/images/blumeops/nothing", nil, []string{"There is no such image, or you may not see it"}, true},
		{"denied", "/images/secrets/vault", nil, []string{"There is no such image, or you may not see it"}, false},
		{"no such tag", "/images/blumeops/homepage:v0", nil,
			[]string{"There is no such image, or you may not see it"}, false},
		{"sign in", "/login", nil, []string{"Password"}, true},
		{"wrong password", "/login", []chromedp.Action[chromedp.Void]{
			chromedp.SendKeys(chromedp.CSS(`input[name=username]`), "erich"), chromedp.SendKeys(chromedp.CSS(`input[name=password]`), "wrong"),
			chromedp.Click(chromedp.ID("login")), chromedp.WaitVisible(chromedp.CSS(`[role=alert]`))}, []string{"wrong"}, false},
		{"no such page", "/user/nothing", nil, []string{"There is no such page"}, false},
	}
}

// forUsers are pages of somebody who is signed in and has no key yet.
func forUsers(user string) []shown {
	return []shown{
		{"start signed in", "/", nil, []string{"You are " + user}, false},
		{"no key", "/user/apikey", nil, []string{"You have no key"}, true},
		{"new key", "/user/apikey/new", nil, []string{"Narrow it"}, true},
		{"new key that is wrong", "/user/apikey/new", []chromedp.Action[chromedp.Void]{
			chromedp.Click(chromedp.CSS(`input[name=days][value=date]`)), chromedp.Click(chromedp.ID("make")), chromedp.WaitVisible(chromedp.CSS(`[role=alert]`))},
			[]string{"a last day is a date"}, false},
		{"key", "/user/apikey/new", append([]chromedp.Action[chromedp.Void]{chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "laptop")},
			click("#make", "The new key of "+user)...), []string{"cregk_", "docker login --username " + user + " --password-stdin " + name}, true},
		{"key again", "/user/apikey/made", nil, []string{"not shown again"}, false},
		{"delete without the right", "/images/blumeops/homepage/-/delete?tag=v1.9.3", nil, []string{"delete"}, true},
		{"activity signed in", "/activity?repo=blumeops/backup", nil, []string{"erich"}, false},
		{"only for administrators", "/admin/keys", nil, []string{"only an admin may do this"}, false},
		{"sign out", "/logout", nil, []string{"You are " + user}, false},
	}
}

// forAdministrators are pages of an administrator with keys of every state.
func (h *house) forAdministrators(id string) []shown {
	const home = "/images/blumeops/homepage"
	back := click(`a[aria-label^="Point it back"]`, "Point latest back")
	deletes := func(how string, heading string) []chromedp.Action[chromedp.Void] {
		return click(`button[name=do][value=`+how+`]`, heading)
	}
	return []shown{
		{"activity of everybody", "/activity", nil, []string{"erich", "Signed in", "127.0.0.1"}, true},
		{"activity of an event", "/activity?event=login", nil, []string{"zot-ci"}, false},
		{"storage", "/admin/storage", nil,
			[]string{"blumeops/homepage", "free on its disk", "Nothing is in the quarantine"}, true},
		{"mirror with its clients", "/mirrors/docker.io", nil,
			[]string{"127.0.0.1", "caddy-registry registry purge docker.io/"}, true},
		{"delete a tag", home + "/-/delete?tag=v1.9.3", nil,
			[]string{"Remove the tag only", "Delete the image"}, false},
		{"delete an image", home + "/-/delete?tag=v1.10.2", nil,
			[]string{"linux/arm64", "SBOM", "Signature", "v1.10, "}, true},
		{"delete from a mirror", "/images/docker.io/library/redis/-/delete?tag=8", nil,
			[]string{"The next pull asks docker.io"}, false},
		{"delete a repository", "/images/blumeops/quartz/-/delete", nil,
			[]string{"Type its name, blumeops/quartz"}, true},
		{"wrong name", "/images/blumeops/quartz/-/delete", append([]chromedp.Action[chromedp.Void]{
			chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "quartz")}, append(deletes("repository", "Delete from"),
			chromedp.WaitVisible(chromedp.CSS(`[role=alert]`)))...),
			[]string{"The name that was typed is another one"}, false},
		{"history to point back", home + ":latest/-/history", nil, []string{"Point it back"}, true},
		{"point back", home + ":latest/-/history", back, []string{"Names now", "Will name"}, true},
		{"pointed back", home + ":latest/-/history", append(back,
			chromedp.Click(chromedp.CSS(`button[name=do][value=back]`)),
			chromedp.WaitVisible(chromedp.CSS(".layers"))), []string{"latest"}, false},
		{"tag removed", home + "/-/delete?tag=v1.9.3", deletes("tags", "1 tag is removed"),
			[]string{"The images stay"}, true},
		{"image deleted", home + "/-/delete?tag=v1.9.4", deletes("images", "1 manifest is deleted"),
			[]string{"v1.9.4"}, false},
		{"repository deleted", "/images/tools/nettest/-/delete", append([]chromedp.Action[chromedp.Void]{
			chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "tools/nettest")},
			deletes("repository", "The repository is deleted")...),
			[]string{"All images"}, false},
		{"keys", "/user/apikey", nil, []string{"active", "expires soon", "expired", "revoked", "narrowed", id}, true},
		{"all keys", "/admin/keys", nil, []string{"zot-ci", "erich"}, true},
		{"no keys of a user", "/admin/keys?user=nobody", nil, []string{"No key is of a user"}, false},
		{"users", "/admin/users", nil, []string{"zot-ci", "password"}, true},
		{"new key for a service account", "/user/apikey/new", nil, []string{"For a service account"}, false},
		{"revoke", "/user/apikey/revoke?id=" + id, nil, []string{"refused from the next request on"}, true},
		{"disable", "/user/apikey/disable?user=zot-ci", nil, []string{"every credential"}, true},
		{"disable oneself", "/user/apikey/disable?user=erich", nil, []string{"You cannot disable yourself"}, false},
		{"denied to others", "/images/secrets/vault", nil, []string{"secrets/vault"}, false},
	}
}

// show leads to a page, and checks its texts.
func (h *house) show(s shown) {
	h.Helper()
	h.visit(s.path)
	if len(s.before) > 0 {
		h.do("lead to "+s.name, s.before...)
	}
	h.has(s.texts...)
}

// examine looks at pages as people meet them. axe-core sees each page on both screens and in both
// themes: every second one on a desk in the light, and the others on a desk in the dark.
func (h *house) examine(axe string, all []shown) {
	h.Helper()
	themes := []chromium.Theme{chromium.Light, chromium.Dark}
	for i, s := range all {
		if len(s.before) == 0 {
			h.plain(s)
		}
		h.display(chromium.Desk, chromium.Light)
		h.show(s)
		for n, screen := range []chromium.Screen{chromium.Desk, chromium.Phone, chromium.Zoomed} {
			theme := themes[(i+n)%2]
			h.display(screen, theme)
			h.faults(s.name+", "+screen.Name, sideways)
			if screen != chromium.Zoomed { // it has the layout and the colours of a narrow page
				h.faults(s.name+", "+screen.Name+", "+string(theme), func(ctx context.Context) ([]string, error) {
					return chromium.Violations(ctx, axe)
				})
			}
		}
		h.display(chromium.Desk, chromium.Light)
		h.faults(s.name+": not reached by the tab key", chromium.Unreached)
	}
}

// plain looks at a page on a phone that runs no scripts.
func (h *house) plain(s shown) {
	h.Helper()
	scripts := func(run bool) {
		if err := chromium.Scripts(h.ctx, run); err != nil {
			h.Fatal(err)
		}
	}
	scripts(false)
	h.display(chromium.Phone, chromium.Dark)
	h.show(s)
	h.faults(s.name+", without scripts", sideways)
	scripts(true)
}

// sideways finds what makes a page scroll sideways.
func sideways(ctx context.Context) ([]string, error) {
	wide, err := chromium.Overflow(ctx)
	if wide == "" {
		return nil, err
	}
	return []string{"the page scrolls sideways: " + wide}, err
}

// faults fails the test for each fault that look finds.
func (h *house) faults(where string, look func(context.Context) ([]string, error)) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	found, err := look(ctx)
	if err != nil {
		h.Fatalf("%s: %v", where, err)
	}
	for _, fault := range found {
		h.Errorf("%s: %s", where, fault)
	}
}

func (h *house) display(screen chromium.Screen, theme chromium.Theme) {
	h.Helper()
	if err := chromium.Show(h.ctx, screen, theme); err != nil {
		h.Fatal(err)
	}
}

func TestEveryPage(t *testing.T) {
	axe := chromium.Axe(t)
	h := open(t, unit)
	h.examine(axe, h.forVisitors())
	h.signIn("zot-ci")
	h.examine(axe, forUsers("zot-ci"))
	h.signOut()
	h.examine(axe, []shown{{"signed out", "/logout", nil, []string{"You are not signed in"}, false}})
	id := h.keys("erich")
	h.signIn("erich")
	h.examine(axe, h.forAdministrators(id))
}

func TestAnEmptyRegistry(t *testing.T) {
	axe := chromium.Axe(t)
	h := open(t, 0)
	all := []shown{
		{"empty", "/", nil, []string{"Nothing is here yet", "docker push " + name}, true},
		{"empty list", "/images", nil, []string{"Nothing is here"}, false},
		{"no mirrors", "/mirrors", nil, []string{"There is no mirror here"}, false},
	}
	h.examine(axe, all)
	h.signIn("erich")
	h.examine(axe, append(all, shown{"no keys at all", "/admin/keys", nil, []string{"There are no keys"}, false},
		shown{"empty storage", "/admin/storage", nil, []string{"Nothing is held"}, false}))
}
