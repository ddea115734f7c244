package pages

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

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

// forVisitors are pages without a session.
func (h *house) forVisitors() []shown {
	short := strings.TrimPrefix(string(h.index), "sha256:")[:12]
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
		{"chart", "/images/charts/homepage", nil, []string{"0.7.1"}, false},
		{"repository of a mirror", "/images/docker.io/library/postgres", nil, []string{"18.1"}, true},
		{"image", "/images/blumeops/homepage:v1.10.2", nil, []string{"linux/arm64", "COPY .next"}, true},
		{"image by digest", "/images/blumeops/homepage@" + string(h.child), nil, []string{string(h.child)}, false},
		{"image of a mirror", "/images/docker.io/library/postgres:18", nil, []string{"postgresql-18"}, false},
		{"history", "/images/blumeops/homepage:latest/-/history", nil, []string{"latest"}, true},
		{"not found", "/images/blumeops/nothing", nil, []string{"There is no such image, or you may not see it"}, true},
		{"denied", "/images/secrets/vault", nil, []string{"There is no such image, or you may not see it"}, false},
		{"no such tag", "/images/blumeops/homepage:v0", nil, []string{"There is no such image, or you may not see it"}, false},
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
		{"only for administrators", "/admin/keys", nil, []string{"only an admin may do this"}, false},
		{"sign out", "/logout", nil, []string{"You are " + user}, false},
	}
}

// forAdministrators are pages of an administrator with keys of every state.
func forAdministrators(id string) []shown {
	return []shown{
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
		h.display(chromium.Desk, chromium.Light)
		h.show(s)
		for n, screen := range []chromium.Screen{chromium.Desk, chromium.Phone, chromium.Zoomed} {
			theme := themes[(i+n)%2]
			h.display(screen, theme)
			h.faults(s.name+", "+screen.Name, func(ctx context.Context) ([]string, error) {
				wide, err := chromium.Overflow(ctx)
				if wide == "" {
					return nil, err
				}
				return []string{"the page scrolls sideways: " + wide}, err
			})
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
	h.examine(axe, forAdministrators(id))
}

func TestAnEmptyRegistry(t *testing.T) {
	axe := chromium.Axe(t)
	h := open(t, 0)
	all := []shown{
		{"empty", "/", nil, []string{"Nothing is here yet", "docker push " + name}, true},
		{"empty list", "/images", nil, []string{"Nothing is here"}, false},
	}
	h.examine(axe, all)
	h.signIn("erich")
	h.examine(axe, append(all, shown{"no keys at all", "/admin/keys", nil, []string{"There are no keys"}, false}))
}
