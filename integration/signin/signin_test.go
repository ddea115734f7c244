// Package signin has people sign in with a browser and a real provider, against the
// built binary: Debian's Chromium, panva's oidc-provider, and HTTPS by Caddy's own
// authority.
//
// SIGNIN_PICTURES=DIR keeps a picture of each page.
package signin

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/eblume/caddy-registry/integration/server"
)

const callback = "/zot/auth/callback/oidc"

// The password of erich, and the output of `hash-password` for it.
const (
	password = "the door is open"
	hash     = "$2a$10$td7NJWShfKFAh3.3RspxRe.u70t/6rWt15oFqsOwi/FiA0MzmLp9i"
)

// house is a registry, its provider, and a user's browser.
type house struct {
	*server.Server
	*provider
	browser *browser
}

const caddyfile = `{
	grace_period 1s
	skip_install_trust
	auto_https disable_redirects
	oci {
		storage file {$REGISTRY_DATA}
		url https://127.0.0.1:{$REGISTRY_PORT}
		oidc {
			issuer %s
			client_id registry
			client_secret {env.SIGNIN_SECRET}
			redirect_path ` + callback + `
			group_refresh 1s
			label "the provider"
		}
		local_user erich ` + hash + ` admins
		policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create
			allow group admins *
		}
	}
}

https://127.0.0.1:{$REGISTRY_PORT} {
	tls internal
	oci_registry
}
`

// begin starts the registry before its provider, and has it found out by a person.
func begin(t *testing.T, people map[string]person) *house {
	t.Helper()
	t.Setenv("SIGNIN_SECRET", providerSecret)
	p := newProvider(t)
	server.Tool(t, "chromium")
	h := &house{provider: p, Server: server.Start(t, server.Options{Caddyfile: fmt.Sprintf(caddyfile, p.issuer), Scheme: "https"})}
	h.browser = newBrowser(t, h.URL)
	if got := h.browser.open("/login?start=1"); !strings.Contains(got, "does not answer") {
		t.Errorf("without its provider the page has %s", got)
	}
	p.start(h.URL, h.Authority(), people)
	client := server.Client(patience)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if err := server.Eventually(patience, func() (bool, error) {
		response, err := client.Get(h.URL + "/login?start=1&moved=1")
		if err != nil {
			return false, err
		}
		return response.StatusCode == http.StatusSeeOther, response.Body.Close()
	}); err != nil {
		t.Fatalf("the registry does not find its provider: %v", err)
	}
	return h
}

// denied reports whether skopeo was refused although its credentials are valid.
func denied(out []byte, err error) bool {
	return err != nil && strings.Contains(string(out), "denied")
}

// push pushes an image by skopeo, as CI does.
func (h *house) push(image, credentials, tag string) ([]byte, error) {
	cmd := exec.Command(server.Tool(h.T, "skopeo"), "copy", "--dest-tls-verify=false", "--dest-creds", credentials,
		"oci:"+image, "docker://"+h.Host+"/blumeops/app:"+tag)
	cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+filepath.Join(h.TempDir(), "auth.json"))
	return cmd.CombinedOutput()
}

func imageDir(t *testing.T) string {
	t.Helper()
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The owner's seven steps, on the day when the key of CI has to be changed, by a user who is
// signed in with her own account.
func TestTheSevenStepsOfChangingAKey(t *testing.T) {
	h := begin(t, map[string]person{"erin": {Groups: []string{"admins"}}, "zot-ci": {Groups: []string{"artifact-workloads"}}})
	b, image := h.browser, imageDir(t)
	b.signIn("zot-ci")
	old := b.makeKey("old")
	if out, err := h.push(image, "zot-ci:"+old, "v1"); err != nil {
		t.Fatalf("push by the old key: %v: %s", err, out)
	}
	if out, err := h.push(imageDir(t), "zot-ci:"+old, "v1"); !denied(out, err) {
		t.Errorf("CI overwrites a tag: %v: %s", err, out)
	}
	b.open("/logout")
	b.do("sign out", chromedp.Click(mainButton), chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Signed out")]`)))
	b.shoot("signed out")
	b.open("/login?other=1")
	b.do("sign in as erin", chromedp.Click(signInButton), atProvider("erin"))

	// 1: sign in as zot-ci at the root, although the browser belongs to erin.
	b.open("/")
	b.do("sign in as somebody else",
		chromedp.Click(otherLink), chromedp.Click(signInButton), atProvider("zot-ci"))
	// 2 to 4: the page of the keys, a key of 90 days, copied.
	key := b.makeKey("new")
	if key == old || strings.Contains(b.open("/user/apikey"), key) {
		t.Error("the page shows a key that is not new, or shows it again")
	}
	// 5: CI pushes with it.
	if out, err := h.push(image, "zot-ci:"+key, "v2"); err != nil {
		t.Fatalf("push by the new key: %v: %s", err, out)
	}
	// 6: the old one is revoked on the page, which asks first. Going back to the
	// question afterwards asks nothing again.
	b.do("ask to revoke", chromedp.Click(chromedp.CSS(`a[aria-label="Revoke old"]`)), chromedp.WaitVisible(sureButton))
	b.shoot("revoke")
	if got := b.page(); !strings.Contains(got, "old") || !strings.Contains(got, "refused from the next request on") {
		t.Errorf("the confirmation page has %s", got)
	}
	b.do("revoke", chromedp.Click(sureButton),
		chromedp.WaitVisible(revoked("old")))
	b.shoot("revoked")
	b.do("go back", chromedp.NavigateBack(), chromedp.WaitVisible(chromedp.Search(`//p[contains(., "It was revoked on")]`)))
	// 7: and is refused.
	out, err := h.push(image, "zot-ci:"+old, "v3")
	if err == nil {
		t.Errorf("the old key still pushes: %s", out)
	}
	if out, err := h.push(image, "zot-ci:"+key, "v3"); err != nil {
		t.Errorf("push by the new key: %v: %s", err, out)
	}

	// Later the provider is down: keys work as before, and so do sessions.
	h.stop()
	if out, err := h.push(image, "zot-ci:"+key, "v4"); err != nil {
		t.Errorf("push while the provider is down: %v: %s", err, out)
	}
	if got := b.open("/user/apikey"); !strings.Contains(got, "zot-ci") {
		t.Errorf("while the provider is down the page has %s", got)
	}
	// For this day there is a password.
	b.open("/login?other=1")
	b.do("sign in with a wrong password", withPassword("erich", "the door is shut"),
		chromedp.WaitVisible(chromedp.Search(`//p[@role="alert" and contains(., "wrong")]`)))
	b.shoot("wrong password")
	b.do("sign in with a password", withPassword("", password), signedInAs("erich"))
	if out, err := h.push(imageDir(t), "erich:"+b.makeKey("emergency"), "v1"); err != nil {
		t.Errorf("push by the key of a local user: %v: %s", err, out)
	}
	// It comes back with other keys, and without its sessions.
	h.start(h.URL, h.Authority(), map[string]person{"erin": {Groups: []string{"admins"}}})
	b.open("/login?other=1")
	b.do("sign in when it is back", chromedp.Click(signInButton), atProvider("erin"))
	overwrites := b.makeKey("mine")
	if out, err := h.push(imageDir(t), "erin:"+overwrites, "v1"); err != nil {
		t.Errorf("an administrator overwrites: %v: %s", err, out)
	}
	// erin disables zot-ci, after a confirmation, but cannot disable herself.
	if got := b.open("/user/apikey/disable?user=erin"); !strings.Contains(got, "You cannot disable yourself") {
		t.Errorf("the page has %s", got)
	}
	b.open("/admin/users")
	b.do("ask to disable zot-ci", chromedp.Click(chromedp.CSS(`a[aria-label="Disable zot-ci"]`)), chromedp.WaitVisible(sureButton))
	b.shoot("disable")
	if got := b.page(); !strings.Contains(got, "new") {
		t.Errorf("the question does not name the key that stops working: %s", got)
	}
	b.do("disable zot-ci", chromedp.Click(sureButton), chromedp.WaitVisible(chromedp.CSS(`button[aria-label="Enable zot-ci"]`)))
	if out, err := h.push(image, "zot-ci:"+key, "v5"); err == nil {
		t.Errorf("a disabled user pushes: %s", out)
	}
	b.do("go back", chromedp.NavigateBack(), chromedp.WaitVisible(chromedp.Search(`//p[contains(., "is disabled")]`)))
	b.open("/admin/users")
	b.do("enable zot-ci", chromedp.Click(chromedp.CSS(`button[aria-label="Enable zot-ci"]`)),
		chromedp.WaitVisible(chromedp.CSS(`a[aria-label="Disable zot-ci"]`)))
	// The provider has forgotten zot-ci, too: from the next look at it on the key is good
	// and has no groups.
	if out, err := h.push(image, "zot-ci:"+key, "v5"); err != nil && !denied(out, err) {
		t.Errorf("an enabled user does not push: %v: %s", err, out)
	}
}

// The seven steps by an administrator who acts as zot-ci at the provider (Authentik's
// impersonation). Her browser has her own session here, which has to end first: signing in as
// somebody else would make the provider ask for a password, and end the impersonation.
func TestTheSevenStepsWithAnImpersonatedSession(t *testing.T) {
	h := begin(t, map[string]person{"erin": {Groups: []string{"admins"}}, "zot-ci": {Groups: []string{"artifact-workloads"}}})
	b, image := h.browser, imageDir(t)
	b.signIn("zot-ci")
	old := b.makeKey("old")
	if out, err := h.push(image, "zot-ci:"+old, "v1"); err != nil {
		t.Fatalf("push by the old key: %v: %s", err, out)
	}
	b.open("/logout")
	b.do("sign out", chromedp.Click(mainButton), chromedp.WaitVisible(againLink))
	b.open("/login?other=1")
	b.do("sign in as erin", chromedp.Click(signInButton), atProvider("erin"))
	hers := b.cookies()
	if status := h.keys(hers); status != http.StatusOK {
		t.Fatalf("erin's session is answered %d", status)
	}
	h.impersonate("erin", "zot-ci")

	// 1: sign out of the registry alone, as the page of the wrong way says, and in again.
	if got := b.open("/"); !strings.Contains(got, "erin") {
		t.Errorf("before that the page has %s", got)
	}
	b.do("the wrong way", chromedp.Click(otherLink), chromedp.WaitVisible(signOutLink))
	b.shoot("impersonation")
	if got := b.page(); !strings.Contains(got, "sign out of the registry alone, then sign in") {
		t.Errorf("the page does not say how an impersonation goes on: %s", got)
	}
	b.do("sign out of the registry alone",
		chromedp.Click(signOutLink), chromedp.Click(mainButton), chromedp.WaitVisible(againLink))
	if status := h.keys(hers); status != http.StatusUnauthorized {
		t.Errorf("erin's session is answered %d after she signed out", status)
	}
	b.do("sign in without a name or a password",
		chromedp.Click(againLink), chromedp.Click(signInButton), chromedp.WaitVisible(consentButton), chromedp.WaitNotPresent(nameInput),
		chromedp.Click(consentButton), signedInAs("zot-ci"))
	// 2 to 4: the page of the keys shows what zot-ci may see; a key, copied.
	if got := b.open("/user/apikey"); !strings.Contains(got, "Your keys") || strings.Contains(got, "erin") {
		t.Errorf("the page of zot-ci has %s", got)
	}
	key := b.makeKey("new")
	// 5: CI pushes with it, and has no right of erin's.
	if out, err := h.push(image, "zot-ci:"+key, "v2"); err != nil {
		t.Fatalf("push by the new key: %v: %s", err, out)
	}
	if out, err := h.push(imageDir(t), "zot-ci:"+key, "v1"); !denied(out, err) {
		t.Errorf("the new key overwrites a tag: %v: %s", err, out)
	}
	// 6 and 7: the old one is revoked, and refused.
	b.open("/user/apikey")
	b.do("revoke", chromedp.Click(chromedp.CSS(`a[aria-label="Revoke old"]`)), chromedp.Click(sureButton),
		chromedp.WaitVisible(revoked("old")))
	if out, err := h.push(image, "zot-ci:"+old, "v3"); err == nil {
		t.Errorf("the old key still pushes: %s", out)
	}
	if out, err := h.push(image, "zot-ci:"+key, "v3"); err != nil {
		t.Errorf("push by the new key: %v: %s", err, out)
	}
}

// revoked is the mark of a revoked key in the list.
func revoked(label string) chromedp.Search {
	return chromedp.Search(`//td[contains(., "` + label + `")]/span[contains(., "revoked")]`)
}

// keys asks for the keys of a session, and returns the status.
func (h *house) keys(cookies string) int {
	h.Helper()
	request, err := http.NewRequestWithContext(h.Context(), http.MethodGet, h.URL+"/api/keys", nil)
	if err != nil {
		h.Fatal(err)
	}
	request.Header.Set("Cookie", cookies)
	response, err := server.Client(patience).Do(request)
	if err != nil {
		h.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// yes confirms to the provider that the user wants to sign out.
const yes = chromedp.CSS(`button[value=yes]`)

func TestGroupsFollowAndSignOut(t *testing.T) {
	h := begin(t, map[string]person{"ada": {Groups: []string{"first-group"}}, "bob": {}})
	b := h.browser
	b.signIn("ada")
	if got := b.open("/"); !strings.Contains(got, "first-group") {
		t.Errorf("the page has %s", got)
	}
	key, image := b.makeKey("mine"), imageDir(t)
	if out, err := h.push(image, "ada:"+key, "v1"); !denied(out, err) {
		t.Errorf("a push without the group: %v: %s", err, out)
	}
	// The provider has other signing keys from now on: what it signs next, a refresh,
	// is by a key that the registry has not seen.
	h.rotate()
	h.know(map[string]person{"ada": {Groups: []string{"artifact-workloads"}}, "bob": {}})
	h.reaches("artifact-workloads")
	if out, err := h.push(image, "ada:"+key, "v1"); err != nil {
		t.Errorf("a push with the group: %v: %s", err, out)
	}

	// Out at the provider is out here.
	h.rotate()
	b.do("sign out at the provider",
		chromedp.Navigate(h.issuer+"session/end"),
		chromedp.Click(yes),
		chromedp.WaitNotPresent(yes))
	h.reaches("You are not signed in")

	// Signing out here leads to the provider, which asks for confirmation.
	b.signIn("ada")
	b.open("/logout")
	b.do("sign out of both",
		chromedp.Click(mainButton),
		chromedp.Click(chromedp.Search(`//a[contains(., "Sign out of the provider too")]`)),
		chromedp.Click(yes),
		chromedp.WaitNotPresent(yes))
	b.signIn("ada") // by her name again: the provider has forgotten her

	// A user that the provider disables is signed out, and their key has no groups.
	h.know(map[string]person{"ada": {Groups: []string{"artifact-workloads"}, Disabled: true}, "bob": {}})
	h.reaches("You are not signed in")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/v2/_catalog", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("ada", key)
	response, err := server.Client(time.Minute).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the key is answered %d, want 200: it is an admin who disables keys", response.StatusCode)
	}
}

// reaches waits until the first page contains text.
func (h *house) reaches(text string) {
	h.Helper()
	if err := server.Eventually(patience, func() (bool, error) {
		return strings.Contains(h.browser.open("/"), text), nil
	}); err != nil {
		h.Fatalf("the page does not show %q: %v\n%s", text, err, h.browser.page())
	}
}
