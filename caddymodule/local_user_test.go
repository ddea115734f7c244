package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

const testPassword = "correct horse battery staple"

// hashOf makes a hash as caddy hash-password does, but a fast one.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// testHash is one of testPassword.
var testHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(testPassword), bcrypt.DefaultCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

// passwordForm is what the login page sends.
func passwordForm(user, password string) url.Values {
	return url.Values{"username": {user}, "password": {password}, "return": {"/user/apikey"}}
}

const localPolicy = `policy {
			allow anonymous read fetch
			allow group admins *
		}
		`

// grant is the password grant of containerd.
func grant(user, password string) *strings.Reader {
	return strings.NewReader(url.Values{"grant_type": {"password"}, "service": {"x"}, "username": {user}, "password": {password}}.Encode())
}

// The day the provider is down, or there is none: a password works at /token and on the
// login page, and what it is used for is told.
func TestALocalUserSignsIn(t *testing.T) {
	port, dir, log := freePort(t), t.TempDir(), filepath.Join(t.TempDir(), "log")
	text := func(lines string) string {
		return strings.Replace(site(port, dir, localPolicy+lines, "respond /user/* next\n\trespond /oidc/* next"), "admin off", `admin off
	log {
		output file `+log+`
		format json
	}
	events {
		on * oci_test
	}`, 1)
	}
	load(t, text("local_user erich "+testHash()+" admins"))
	v := visit(t, port, nil)
	field := basic("erich", testPassword)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	wantHeard(t, "a start")
	before := v.metric(`registry_logins_total{method="local_user",result="ok"}`)

	// Never below /v2/, which says where.
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/team/app/manifests/v1"} {
		response, body := v.want(http.StatusUnauthorized, "GET", path, nil, "Authorization", field)
		if !bytes.Contains(body, []byte("/token")) || !bytes.Contains(body, []byte("API key")) || response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: got %s", path, body)
		}
	}
	_, body := v.want(http.StatusOK, "GET", "/token?scope=repository:team/app:pull,push", nil, "Authorization", field)
	if got := tokenOf(t, body); got != "" {
		if !bytes.Contains(body, []byte(`"expires_in":300`)) {
			t.Errorf("got %s, want a token for five minutes", body)
		}
		v.want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", "Bearer "+got)
	}
	_, body = v.want(http.StatusOK, "POST", "/token", grant("erich", testPassword), form...)
	bearer := "Bearer " + tokenOf(t, body)
	for _, wrong := range [][2]string{{"erich", "wrong"}, {"Erich", testPassword}, {"nobody", testPassword}} {
		v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic(wrong[0], wrong[1]))
		v.want(http.StatusUnauthorized, "POST", "/token", grant(wrong[0], wrong[1]), form...)
		_, body := v.page(http.StatusForbidden, "/login", passwordForm(wrong[0], wrong[1]))
		if !strings.Contains(body, "user name or the password is wrong") || strings.Contains(body, "value=\""+wrong[1]) {
			t.Errorf("%s: the page says %s", wrong[0], body)
		}
	}
	if got := v.metric(`registry_logins_total{method="local_user",result="ok"}`) - before; got != 2 {
		t.Errorf("%v logins by password were counted, want 2", got)
	}
	v.page(http.StatusForbidden, "/login", url.Values{})
	key, _ := robot(t)
	v.page(http.StatusForbidden, "/login", passwordForm("zot-ci", key)) // a key is not a password
	v.page(http.StatusSeeOther, "/user/apikey", nil)

	// On the pages, without a provider.
	_, page := v.page(http.StatusOK, "/login?return=%2Fuser%2Fapikey", nil)
	if !strings.Contains(page, `name="password"`) || strings.Contains(page, "Sign in with ") && !strings.Contains(page, "Sign in with a password") {
		t.Errorf("the page is %s", page)
	}
	response, _ := v.page(http.StatusSeeOther, "/login", passwordForm("erich", testPassword))
	if got := response.Header.Get("Location"); got != "/user/apikey" {
		t.Errorf("the sign-in led to %s", got)
	}
	personal := v.makeKey()
	v.want(http.StatusOK, "GET", "/v2/", nil, "Authorization", basic("erich", personal))
	v.want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", basic("erich", personal))

	// No cookie is anything at /token, and a form of another site is nothing.
	if _, body := v.page(http.StatusOK, "/token", nil); strings.Contains(body, "erich") {
		t.Errorf("/token knows the cookie: %s", body)
	}
	for _, path := range []string{"/login", "/logout"} {
		v.want(http.StatusForbidden, "POST", path, strings.NewReader(passwordForm("erich", testPassword).Encode()), append(form, "Sec-Fetch-Site", "cross-site")...)
	}
	v.want(http.StatusOK, "GET", "/oidc/backchannel-logout", nil) // is the next handler's

	// Groups follow the configuration, sessions and keys too.
	load(t, text("local_user erich "+testHash()+" others"))
	if _, body := v.page(http.StatusOK, "/", nil); !strings.Contains(body, "in others") {
		t.Errorf("after a change of groups the page says %s", body)
	}
	for _, authorization := range []string{bearer, "Bearer " + personal} {
		v.want(http.StatusForbidden, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", authorization)
	}
	// Another password ends sessions and tokens, and no keys.
	load(t, text("local_user erich "+hashOf(t, "another")+" admins"))
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", bearer)
	v.want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", "Bearer "+personal)
	// The old password back does not bring the session back that has ended.
	load(t, text("local_user erich "+testHash()+" admins"))
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", testPassword))
	v.page(http.StatusOK, "/user/apikey", nil)
	// An admin's no holds for all of it.
	if _, err := callersOf(t).Identity.Users().SetDisabled(t.Context(), "erich", true); err != nil {
		t.Fatal(err)
	}
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", field)
	v.want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+personal)
	if _, err := callersOf(t).Identity.Users().SetDisabled(t.Context(), "erich", false); err != nil {
		t.Fatal(err)
	}
	// No line, no pages, no passwords, no keys.
	load(t, text(""))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); body != "next" {
		t.Errorf("without anybody who signs in there is a page: %s", body)
	}
	v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", field)
	v.want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+personal)

	for _, secret := range []string{testPassword, testHash(), personal} {
		if strings.Contains(readFile(t, log), secret) {
			t.Errorf("the log has %.8s…", secret)
		}
	}
	heard.Lock()
	defer heard.Unlock()
	logins := 0
	for _, event := range heard.events {
		if strings.HasPrefix(event, "registry_login ") && strings.Contains(event, "method:local_user") && strings.Contains(event, "user:erich") {
			logins++
		}
	}
	heard.events = nil
	if logins < 2 {
		t.Errorf("%d sign-ins were told, want 2 at least", logins)
	}
}

// Beside a provider that is down: the form is there, and the name may be one that a key,
// or somebody whom the provider knows, has too.
func TestALocalUserBesideTheProvider(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, dir, fake := freePort(t), t.TempDir(), oidctest.New(t, "registry")
	text := site(port, dir, localPolicy+oidcBlock(fake, port, "")+"\nlocal_user ada "+testHash()+" admins\nlocal_user zot-ci "+testHash(), "")
	load(t, text)
	fake.Claims["groups"] = []string{"staff"}
	v := visit(t, port, fake)
	v.signIn()
	theirs := v.makeKey()
	fake.Down = true
	v.page(http.StatusOK, "/logout", url.Values{})
	_, page := v.page(http.StatusOK, "/login", nil)
	if !strings.Contains(page, `href="/login?`) || !strings.Contains(page, `name="password"`) {
		t.Errorf("one of two ways is missing: %s", page)
	}
	v.page(http.StatusSeeOther, "/login", passwordForm("ada", testPassword))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, "All keys") {
		t.Errorf("ada by her password is not an admin: %s", body)
	}
	ours := v.makeKey()
	for secret, want := range map[string]string{theirs: "staff", ours: "admins"} {
		who, err := callersOf(t).Identity.KeyIdentity(secret, identity.NewLocals([]identity.LocalUser{{Name: "ada", Hash: testHash(), Groups: []string{"admins"}}}, nil))
		if err != nil || strings.Join(who.Groups, " ") != want {
			t.Errorf("got %v, %v; want the group %s of whoever vouched when it was made", who, err, want)
		}
	}
	if _, body := v.page(http.StatusOK, "/logout", url.Values{}); strings.Contains(body, "too</a>") {
		t.Errorf("who signed in here is sent to the provider to sign out: %s", body)
	}

	// A local user of the name of a service account has its keys on the page, and
	// neither its groups nor its secrets.
	secret, key := robot(t)
	v.page(http.StatusSeeOther, "/login", passwordForm("zot-ci", testPassword))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, key.ID) || strings.Contains(body, secret) || strings.Contains(body, "All keys") {
		t.Errorf("the page of zot-ci is %s", body)
	}
	v.page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"revoke"}, "id": {key.ID}, "sure": {"yes"}})
	v.want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", basic("zot-ci", secret))
}

func TestPasswordsWhereOthersCouldReadThem(t *testing.T) {
	port := freePort(t)
	text := site(port, t.TempDir(), "local_user erich "+testHash(), "respond next")
	far := []string{"X-Forwarded-For", "192.0.2.1", "Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("erich", testPassword)}
	for _, row := range []struct {
		name, options string
		login, token  int
	}{
		{"plain HTTP", "", http.StatusForbidden, http.StatusUnauthorized},
		{"where the site wants it so", "insecure_credentials", http.StatusSeeOther, http.StatusOK},
		{"a site for reading", "read_only", http.StatusOK, http.StatusUnauthorized}, // the next handler's
	} {
		t.Run(row.name, func(t *testing.T) {
			load(t, strings.Replace(text, "oci_registry\n", "oci_registry {\n "+row.options+"\n }\n", 1))
			r := at(t, port)
			response, body := r.want(row.login, "POST", "/login", strings.NewReader(passwordForm("erich", testPassword).Encode()), far...)
			if row.login != http.StatusSeeOther && len(response.Cookies()) > 0 {
				t.Errorf("got cookies %v and %s", response.Cookies(), body)
			}
			r.want(row.token, "GET", "/token", nil, far...)
		})
	}
}

// Guessing is slow for who guesses, and for nobody else: not even at the same address,
// and not after a reload.
func TestPasswordsAreNotGuessed(t *testing.T) {
	port := freePort(t)
	text := site(port, t.TempDir(), "local_user erich "+testHash()+"\nlocal_user ada "+testHash(), "")
	load(t, text)
	v := visit(t, port, nil)
	v.want(http.StatusOK, "GET", "/token", nil, "Authorization", basic("erich", testPassword))
	for i := range 2 {
		v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic("erich", fmt.Sprint("guess", i)))
		v.page(http.StatusForbidden, "/login", passwordForm("erich", fmt.Sprint("another guess", i)))
	}
	load(t, text)
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	refused := make(chan http.Header, 1)
	for i := range 20 {
		flood.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				request, err := http.NewRequestWithContext(ctx, "GET", v.base+"/token", nil)
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("Authorization", basic("erich", fmt.Sprint("flood", i, n)))
				response, err := transport.RoundTrip(request)
				if err != nil {
					continue // it was stopped
				}
				response.Body.Close()
				if response.StatusCode == http.StatusTooManyRequests {
					select {
					case refused <- response.Header:
					default:
					}
				}
			}
		})
	}
	if header := <-refused; header.Get("Retry-After") == "" {
		t.Errorf("a guess too many got %v", header)
	}
	v.want(http.StatusOK, "GET", "/token", nil, "Authorization", basic("erich", testPassword))
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", testPassword))
	v.want(http.StatusOK, "GET", "/token", nil, "Authorization", basic("ada", testPassword))
	guess := 0
	v.eventually("the login page refuses a guess too many", func() bool {
		guess++
		form := passwordForm("erich", fmt.Sprint("form", guess)).Encode()
		response, body := v.do("POST", "/login", strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded")
		return response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" && strings.Contains(string(body), "Try again")
	})
	stop()
	flood.Wait()
}

// Names that Basic, a form and a policy can carry, to the letter.
func TestNamesOfLocalUsers(t *testing.T) {
	port := freePort(t)
	const odd, other = "ädä ☃", "a\u0308da\u0308 ☃" // which look alike
	load(t, site(port, t.TempDir(), fmt.Sprintf("local_user %q %s", odd, testHash()), ""))
	v := visit(t, port, nil)
	v.want(http.StatusOK, "GET", "/token", nil, "Authorization", basic(odd, testPassword))
	v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic(other, testPassword))
	v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic("", testPassword))
	v.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic(odd+":x", testPassword))
	v.page(http.StatusSeeOther, "/login", passwordForm(odd, testPassword))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, odd) {
		t.Errorf("the page does not name %s: %s", odd, body)
	}
}

// A hash may be outside of the configuration. validate does not look for it.
func TestTheHashOfALocalUserIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "erich")
	port := freePort(t)
	text := site(port, t.TempDir(), "local_user erich {file."+file+"} admins", "")
	if err := validate(t, string(adapt(t, text))); err != nil {
		t.Errorf("without the file: %v", err)
	}
	for content, want := range map[string]string{"": "erich", "plain text\n": "not a bcrypt hash"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := loadError(t, adapt(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:7") || strings.Contains(err.Error(), "plain text") {
			t.Errorf("%q: got %v, want it to say %s and the line", content, err, want)
		}
	}
	if err := os.WriteFile(file, []byte(testHash()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load(t, text)
	at(t, port).want(http.StatusOK, "GET", "/token", nil, "Authorization", basic("erich", testPassword))
}
