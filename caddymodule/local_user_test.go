package caddymodule_test

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
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// hashOf makes a hash as caddy hash-password does, but a fast one.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

const localPolicy = `policy {
			allow anonymous read fetch
			allow group admins *
		}
		`

// grant is the password grant of containerd.
func grant(user, password string) *strings.Reader {
	return strings.NewReader(url.Values{"grant_type": {"password"}, "service": {"x"}, "username": {user},
		"password": {password}}.Encode())
}

// The day the provider is down, or there is none: a password works at /token and on the
// login page, and what it is used for is told.
func TestALocalUserSignsIn(t *testing.T) {
	port, dir, log := registrytest.FreePort(t), t.TempDir(), filepath.Join(t.TempDir(), "log")
	text := func(lines string) string {
		return strings.Replace(registrytest.Caddyfile(port, dir, localPolicy+lines, "respond /user/* next\n"+
			"\trespond /oidc/* next"), "admin off", `admin off
	log {
		output file `+log+`
		format json
	}
	events {
		on * oci_test
	}`, 1)
	}
	registrytest.Load(t, text("local_user erich "+registrytest.PasswordHash()+" admins"))
	v := visit(t, port, nil)
	field := registrytest.Basic("erich", registrytest.Password)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	wantHeard(t, "a start")
	before := v.Metric(`registry_logins_total{method="local_user",result="ok"}`)

	// Never below /v2/, which says where.
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/team/app/manifests/v1"} {
		response, body := v.Want(http.StatusUnauthorized, "GET", path, nil, "Authorization", field)
		if !bytes.Contains(body, []byte("/token")) || !bytes.Contains(body, []byte("API key")) ||
			response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: got %s", path, body)
		}
	}
	_, body := v.Want(http.StatusOK, "GET", "/token?scope=repository:team/app:pull,push", nil, "Authorization", field)
	if got := registrytest.Token(t, body); got != "" {
		if !bytes.Contains(body, []byte(`"expires_in":300`)) {
			t.Errorf("got %s, want a token for five minutes", body)
		}
		v.Want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", "Bearer "+got)
	}
	_, body = v.Want(http.StatusOK, "POST", "/token", grant("erich", registrytest.Password), form...)
	bearer := "Bearer " + registrytest.Token(t, body)
	for _, wrong := range [][2]string{{"erich", "wrong"}, {"Erich", registrytest.Password},
		{"nobody", registrytest.Password}} {
		v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", registrytest.Basic(wrong[0], wrong[1]))
		v.Want(http.StatusUnauthorized, "POST", "/token", grant(wrong[0], wrong[1]), form...)
		_, body := v.page(http.StatusForbidden, "/login", passwordForm(wrong[0], wrong[1]))
		if !strings.Contains(body, "user name or the password is wrong") ||
			strings.Contains(body, "value=\""+wrong[1]) {
			t.Errorf("%s: the page says %s", wrong[0], body)
		}
	}
	if got := v.Metric(`registry_logins_total{method="local_user",result="ok"}`) - before; got != 2 {
		t.Errorf("%v logins by password were counted, want 2", got)
	}
	v.page(http.StatusForbidden, "/login", url.Values{})
	key, _ := registrytest.Key(t)
	v.page(http.StatusForbidden, "/login", passwordForm("zot-ci", key)) // a key is not a password
	v.page(http.StatusSeeOther, "/user/apikey", nil)

	// On the pages, without a provider.
	_, page := v.page(http.StatusOK, "/login?return=%2Fuser%2Fapikey", nil)
	if !strings.Contains(page, `name="password"`) || strings.Contains(page, "Sign in with ") &&
		!strings.Contains(page, "Sign in with a password") {
		t.Errorf("the page is %s", page)
	}
	response, _ := v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	if got := response.Header.Get("Location"); got != "/user/apikey" {
		t.Errorf("the sign-in led to %s", got)
	}
	personal := v.makeKey()
	v.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("erich", personal))
	v.Want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil,
		"Authorization", registrytest.Basic("erich", personal))

	// No cookie is anything at /token, and a form of another site is nothing.
	if _, body := v.page(http.StatusOK, "/token", nil); strings.Contains(body, "erich") {
		t.Errorf("/token knows the cookie: %s", body)
	}
	for _, path := range []string{"/login", "/logout"} {
		v.Want(http.StatusForbidden, "POST", path,
			strings.NewReader(passwordForm("erich", registrytest.Password).Encode()),
			append(form, "Sec-Fetch-Site", "cross-site")...)
	}
	v.Want(http.StatusOK, "GET", "/oidc/backchannel-logout", nil) // is the next handler's

	// Groups follow the configuration, sessions and keys too.
	registrytest.Load(t, text("local_user erich "+registrytest.PasswordHash()+" others"))
	if _, body := v.page(http.StatusOK, "/", nil); !strings.Contains(body, "in others") {
		t.Errorf("after a change of groups the page says %s", body)
	}
	for _, authorization := range []string{bearer, "Bearer " + personal} {
		v.Want(http.StatusForbidden, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", authorization)
	}
	// Another password ends sessions and tokens, and no keys.
	registrytest.Load(t, text("local_user erich "+hashOf(t, "another")+" admins"))
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.Want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", bearer)
	v.Want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/", nil, "Authorization", "Bearer "+personal)
	// The old password back does not bring the session back that has ended.
	registrytest.Load(t, text("local_user erich "+registrytest.PasswordHash()+" admins"))
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	v.page(http.StatusOK, "/user/apikey", nil)
	// An admin's no holds for all of it.
	if _, err := registrytest.Callers(t).Identity.Users().SetDisabled(t.Context(), "erich", true); err != nil {
		t.Fatal(err)
	}
	v.page(http.StatusSeeOther, "/user/apikey", nil)
	v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", field)
	v.Want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+personal)
	if _, err := registrytest.Callers(t).Identity.Users().SetDisabled(t.Context(), "erich", false); err != nil {
		t.Fatal(err)
	}
	// No line, no pages, no passwords, no keys.
	registrytest.Load(t, text(""))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); body != "next" {
		t.Errorf("without anybody who signs in there is a page: %s", body)
	}
	v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", field)
	v.Want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", "Bearer "+personal)

	for _, secret := range []string{registrytest.Password, registrytest.PasswordHash(), personal} {
		if strings.Contains(registrytest.ReadFile(t, log), secret) {
			t.Errorf("the log has %.8s…", secret)
		}
	}
	heard.Lock()
	defer heard.Unlock()
	logins := 0
	for _, event := range heard.events {
		if strings.HasPrefix(event, "registry_login ") && strings.Contains(event, "method:local_user") &&
			strings.Contains(event, "user:erich") {
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
	port, dir, fake := registrytest.FreePort(t), t.TempDir(), oidctest.New(t, "registry")
	text := registrytest.Caddyfile(port, dir, localPolicy+oidcBlock(fake, port, "")+"\nlocal_user ada "+
		registrytest.PasswordHash()+" admins\nlocal_user zot-ci "+registrytest.PasswordHash(), "")
	registrytest.Load(t, text)
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
	v.page(http.StatusSeeOther, "/login", passwordForm("ada", registrytest.Password))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, "All keys") {
		t.Errorf("ada by her password is not an admin: %s", body)
	}
	ours := v.makeKey()
	for secret, want := range map[string]string{theirs: "staff", ours: "admins"} {
		who, err := registrytest.Callers(t).Identity.KeyIdentity(secret,
			identity.NewLocals(
				[]identity.LocalUser{{Name: "ada", Hash: registrytest.PasswordHash(), Groups: []string{"admins"}}},
				nil))
		if err != nil || strings.Join(who.Groups, " ") != want {
			t.Errorf("got %v, %v; want the group %s of whoever vouched when it was made", who, err, want)
		}
	}
	if _, body := v.page(http.StatusOK, "/logout", url.Values{}); strings.Contains(body, "too</a>") {
		t.Errorf("who signed in here is sent to the provider to sign out: %s", body)
	}

	// A local user of the name of a service account has its keys on the page, and
	// neither its groups nor its secrets.
	secret, key := registrytest.Key(t)
	v.page(http.StatusSeeOther, "/login", passwordForm("zot-ci", registrytest.Password))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, key.ID) ||
		strings.Contains(body, secret) || strings.Contains(body, "All keys") {
		t.Errorf("the page of zot-ci is %s", body)
	}
	v.page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"revoke"}, "id": {key.ID}, "sure": {"yes"}})
	v.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", registrytest.Basic("zot-ci", secret))
}

func TestPasswordsWhereOthersCouldReadThem(t *testing.T) {
	port := registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, t.TempDir(), "local_user erich "+registrytest.PasswordHash(), "respond next")
	far := []string{"X-Forwarded-For", "192.0.2.1", "Content-Type", "application/x-www-form-urlencoded",
		"Authorization", registrytest.Basic("erich", registrytest.Password)}
	for _, row := range []struct {
		name, options string
		login, token  int
	}{
		{"plain HTTP", "", http.StatusForbidden, http.StatusUnauthorized},
		{"where the site wants it so", "insecure_credentials", http.StatusSeeOther, http.StatusOK},
		{"a site for reading", "read_only", http.StatusOK, http.StatusUnauthorized}, // the next handler's
	} {
		t.Run(row.name, func(t *testing.T) {
			registrytest.Load(t, strings.Replace(text, "oci_registry\n", "oci_registry {\n "+row.options+"\n }\n", 1))
			r := registrytest.At(t, port)
			response, body := r.Want(row.login, "POST", "/login",
				strings.NewReader(passwordForm("erich", registrytest.Password).Encode()), far...)
			if row.login != http.StatusSeeOther && len(response.Cookies()) > 0 {
				t.Errorf("got cookies %v and %s", response.Cookies(), body)
			}
			r.Want(row.token, "GET", "/token", nil, far...)
		})
	}
}

// Guessing is slow for who guesses, and for nobody else: not even at the same address,
// and not after a reload.
func TestPasswordsAreNotGuessed(t *testing.T) {
	port := registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, t.TempDir(), "local_user erich "+registrytest.PasswordHash()+
		"\nlocal_user ada "+registrytest.PasswordHash(), "")
	registrytest.Load(t, text)
	v := visit(t, port, nil)
	v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", registrytest.Password))
	for i := range 2 {
		v.Want(http.StatusUnauthorized, "GET", "/token", nil,
			"Authorization", registrytest.Basic("erich", fmt.Sprint("guess", i)))
		v.page(http.StatusForbidden, "/login", passwordForm("erich", fmt.Sprint("another guess", i)))
	}
	registrytest.Load(t, text)
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	refused := make(chan http.Header, 1)
	for i := range 20 {
		flood.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				request, err := http.NewRequestWithContext(ctx, "GET", v.Base+"/token", nil)
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("Authorization", registrytest.Basic("erich", fmt.Sprint("flood", i, n)))
				response, err := registrytest.Transport.RoundTrip(request)
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
	v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", registrytest.Password))
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("ada", registrytest.Password))
	guess := 0
	v.Eventually("the login page refuses a guess too many", func() bool {
		guess++
		form := passwordForm("erich", fmt.Sprint("form", guess)).Encode()
		response, body := v.Do("POST", "/login", strings.NewReader(form),
			"Content-Type", "application/x-www-form-urlencoded")
		return response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" &&
			strings.Contains(string(body), "Try again")
	})
	stop()
	flood.Wait()
}

// Names that Basic, a form and a policy can carry, to the letter.
func TestNamesOfLocalUsers(t *testing.T) {
	port := registrytest.FreePort(t)
	const odd, other = "ädä ☃", "a\u0308da\u0308 ☃" // which look alike
	registrytest.Serve(t, port, t.TempDir(), fmt.Sprintf("local_user %q %s", odd, registrytest.PasswordHash()), "")
	v := visit(t, port, nil)
	v.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic(odd, registrytest.Password))
	v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization",
		registrytest.Basic(other, registrytest.Password))
	v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization",
		registrytest.Basic("", registrytest.Password))
	v.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization",
		registrytest.Basic(odd+":x", registrytest.Password))
	v.page(http.StatusSeeOther, "/login", passwordForm(odd, registrytest.Password))
	if _, body := v.page(http.StatusOK, "/user/apikey", nil); !strings.Contains(body, odd) {
		t.Errorf("the page does not name %s: %s", odd, body)
	}
}

// A hash may be outside of the configuration. validate does not look for it.
func TestTheHashOfALocalUserIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "erich")
	port := registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, t.TempDir(), "local_user erich {file."+file+"} admins", "")
	if err := registrytest.Validate(t, string(registrytest.Adapt(t, text))); err != nil {
		t.Errorf("without the file: %v", err)
	}
	for content, want := range map[string]string{"": "erich", "plain text\n": "not a bcrypt hash"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := registrytest.TryLoad(t, registrytest.Adapt(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:7") ||
			strings.Contains(err.Error(), "plain text") {
			t.Errorf("%q: got %v, want it to say %s and the line", content, err, want)
		}
	}
	if err := os.WriteFile(file, []byte(registrytest.PasswordHash()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, text)
	registrytest.At(t, port).Want(http.StatusOK, "GET", "/token", nil,
		"Authorization", registrytest.Basic("erich", registrytest.Password))
}
