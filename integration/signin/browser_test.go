package signin

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/eblume/caddy-registry/integration/chromium"
)

// patience bounds every wait: the machine may be busy.
const patience = 45 * time.Second

// browser is a Chromium without a window.
type browser struct {
	*testing.T
	ctx  context.Context
	base string
}

// newBrowser starts a browser for the pages of base.
func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	return &browser{t, chromium.Start(t), base}
}

// do runs actions, and prints the page if they do not finish.
func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatalf("%s: %v\n%s", what, err, b.page())
	}
}

// page returns the address and the text of the page.
func (b *browser) page() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	address, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return err.Error()
	}
	return address + "\n" + text
}

// open goes to a path of the registry, and returns the address and the text that it
// led to.
func (b *browser) open(path string) string {
	b.Helper()
	b.do("open "+path, chromedp.Navigate(b.base+path), chromedp.WaitVisible(chromedp.CSS("h1")))
	b.shoot(path)
	return b.page()
}

// shoot keeps a picture of the page if SIGNIN_PICTURES names a directory.
func (b *browser) shoot(name string) {
	b.Helper()
	dir := os.Getenv("SIGNIN_PICTURES")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, name), "-")+".png")
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		b.Fatal(err)
	}
}

// signedInAs waits for the navigation bar with a user's name.
func signedInAs(name string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.Search(`//nav/a[@href="/logout" and contains(., "` + name + `")]`))
}

// atProvider gives the provider a name.
func atProvider(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.WaitVisible(nameInput),
		chromedp.SendKeys(nameInput, name),
		chromedp.Click(consentButton),
		signedInAs(name),
	)
}

// withPassword fills in the form of the login page, which may already have a name.
func withPassword(name, password string) chromedp.Action[chromedp.Void] {
	secret := chromedp.CSS(`input[name=password]`)
	return chromedp.Steps(
		chromedp.WaitVisible(secret),
		chromedp.SendKeys(chromedp.CSS(`input[name=username]`), name),
		chromedp.SendKeys(secret, password),
		chromedp.Click(chromedp.ID("login")),
	)
}

const (
	loginLink     = chromedp.CSS(`main a.button[href="/login"]`)
	signInButton  = chromedp.CSS(`main a.button[href^="/login?"]`)
	againLink     = chromedp.CSS(`main a[href="/login"]`)
	signOutLink   = chromedp.CSS(`main a[href="/logout"]`)
	otherLink     = chromedp.CSS(`main a[href^="/login?other=1"]`)
	mainButton    = chromedp.CSS(`main button`)
	nameInput     = chromedp.CSS(`input[name=name]`)
	consentButton = chromedp.ID("go") // of the provider; also below the field for a name
	sureButton    = chromedp.ID("sure")
	shownSecret   = chromedp.ID("secret")
	newKeyLink    = chromedp.ID("new")
)

// signIn begins at the root, without a signed-in user.
func (b *browser) signIn(name string) {
	b.Helper()
	b.open("/")
	b.do("sign in as "+name,
		chromedp.Click(loginLink),
		chromedp.Click(signInButton),
		atProvider(name))
}

// makeKey makes a key for the signed-in user, and returns the secret that the page shows once.
func (b *browser) makeKey(label string) (key string) {
	b.Helper()
	b.open("/user/apikey")
	b.do("make a key",
		chromedp.Click(newKeyLink),
		chromedp.WaitVisible(nameInput),
		chromedp.SendKeys(nameInput, label),
		chromedp.Click(chromedp.CSS(`input[name=days][value="30"]`)),
		chromedp.Click(chromedp.ID("make")),
		chromedp.WaitVisible(shownSecret))
	key, err := chromedp.Run(b.ctx, chromedp.Text(shownSecret))
	if err != nil {
		b.Fatal(err)
	}
	b.shoot("new key")
	return strings.TrimSpace(key)
}

// cookies returns those of the page, as a request has them.
func (b *browser) cookies() string {
	b.Helper()
	var found struct {
		Cookies []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"cookies"`
	}
	b.do("read the cookies", func(ctx context.Context, t *chromedp.Target) (none chromedp.Void, err error) {
		return none, t.Call(ctx, "Network.getCookies", struct{}{}, &found)
	})
	var pairs []string
	for _, one := range found.Cookies {
		pairs = append(pairs, one.Name+"="+one.Value)
	}
	return strings.Join(pairs, "; ")
}
