package caddymodule_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

type apiKey struct {
	identity.Key
	State string `json:"state"`
}

func TestKeysAsJSON(t *testing.T) {
	port := registrytest.FreePort(t)
	text := strings.Replace(registrytest.Caddyfile(port, t.TempDir(),
		localPolicy+"local_user erich "+registrytest.PasswordHash()+" admins\nlocal_user ada "+
			registrytest.PasswordHash(), "respond /api/* next"), "admin off", `admin off
	events {
		on * oci_test
	}`, 1)
	registrytest.Load(t, text)
	admin, ada, nobody := visit(t, port, nil), visit(t, port, nil), visit(t, port, nil)
	admin.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	ada.page(http.StatusSeeOther, "/login", passwordForm("ada", registrytest.Password))
	_, robots := registrytest.Key(t)

	// One's own.
	if got := ada.api(http.StatusOK, "GET", "/api/keys", ""); got.Keys == nil || len(got.Keys) != 0 {
		t.Errorf("got %v, want an empty list", got.Keys)
	}
	wantHeard(t, "two sign-ins and a key", []string{"registry_login"}, []string{"registry_login"},
		[]string{observe.EventKeyMade})
	made := ada.api(http.StatusCreated, "POST", "/api/keys",
		`{"name": " laptop ", "expires": "30d", "actions": ["read"], "globs": ["team/**"]}`)
	wantHeard(t, "a key", []string{observe.EventKeyMade, made.Key.ID, "by:ada", "user:ada"})
	if k := made.Key; k.User != "ada" || k.Name != "laptop" || k.By != "ada" || k.Service || !k.Local ||
		k.State != "active" ||
		k.Expires.Sub(k.Created) != 30*24*time.Hour || !slices.Equal(k.Actions, []string{"read"}) ||
		!slices.Equal(k.Globs, []string{"team/**"}) {
		t.Errorf("made %+v", k)
	}
	nobody.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer "+made.Secret)
	other := ada.api(http.StatusCreated, "POST", "/api/keys",
		`{"expires": "`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	if left := time.Until(other.Key.Expires); left < 50*time.Minute || left > time.Hour ||
		other.Key.State != "expires soon" {
		t.Errorf("made a key that ends in %s, %s", left, other.Key.State)
	}
	whole := ada.api(http.StatusCreated, "POST", "/api/keys", `{}`)
	if got := whole.Key.Expires.Sub(whole.Key.Created); got != identity.DefaultLifetime {
		t.Errorf("made a key for %s by default", got)
	}
	if got := ada.api(http.StatusOK, "GET", "/api/keys", ""); len(got.Keys) != 3 || got.Secret != "" {
		t.Errorf("ada sees %+v, want her three keys", got)
	}
	if got := ada.api(http.StatusOK, "GET", "/api/keys/"+other.Key.ID, ""); got.Key.ID != other.Key.ID {
		t.Errorf("got %+v", got)
	}
	if got := ada.api(http.StatusOK, "DELETE", "/api/keys/"+other.Key.ID, ""); got.Key.State != "revoked" {
		t.Errorf("revoked %+v", got.Key)
	}
	nobody.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", "Bearer "+other.Secret)

	// Those of others are an admin's.
	ada.api(http.StatusForbidden, "GET", "/api/keys?user=zot-ci", "")
	ada.api(http.StatusOK, "GET", "/api/keys?user=ada", "")
	ada.api(http.StatusNotFound, "GET", "/api/keys/"+robots.ID, "")
	ada.api(http.StatusNotFound, "DELETE", "/api/keys/"+robots.ID, "")
	ada.api(http.StatusForbidden, "POST", "/api/keys", `{"user": "zot-ci", "groups": ["admins"]}`)
	ada.api(http.StatusForbidden, "POST", "/api/keys", `{"user": "ada", "groups": ["admins"]}`)
	ada.api(http.StatusBadRequest, "POST", "/api/keys", `{"groups": ["admins"]}`)
	if got := admin.api(http.StatusOK, "GET", "/api/keys", ""); len(got.Keys) != 4 {
		t.Errorf("an admin sees %d keys, want all four", len(got.Keys))
	}
	if got := admin.api(http.StatusOK, "GET", "/api/keys?user=zot-ci", ""); len(got.Keys) != 1 ||
		got.Keys[0].ID != robots.ID {
		t.Errorf("got %+v, want the service account's", got.Keys)
	}
	wantHeard(t, "a key's first use, two keys and the end of one", []string{observe.EventLogin, "at:/v2/"},
		[]string{observe.EventKeyMade}, []string{observe.EventKeyMade}, []string{observe.EventKeyRevoked, "by:ada"},
		[]string{observe.EventLoginRefused, "credential:key " + other.Key.ID, "reason:revoked"})
	service := admin.api(http.StatusCreated, "POST", "/api/keys",
		`{"user": "builder", "groups": ["ci", "builders"], "name": "b"}`)
	if k := service.Key; k.User != "builder" || !k.Service || k.By != "erich" || k.Local || len(k.Groups) != 2 {
		t.Errorf("made %+v", k)
	}
	admin.api(http.StatusOK, "DELETE", "/api/keys/"+robots.ID, "")
	wantHeard(t, "for a service account", []string{observe.EventKeyMade, "by:erich", "user:builder"},
		[]string{observe.EventKeyRevoked, "by:erich", robots.ID})

	// A key sees and ends itself, and makes none, an admin's neither.
	for _, field := range []string{"Bearer " + service.Secret, registrytest.Basic("x", service.Secret)} {
		if got := nobody.api(http.StatusOK, "GET", "/api/keys", "", "Authorization", field); len(got.Keys) != 1 ||
			got.Keys[0].ID != service.Key.ID {
			t.Errorf("a key sees %+v", got.Keys)
		}
	}
	adminKey := admin.api(http.StatusCreated, "POST", "/api/keys", `{}`)
	sibling := admin.api(http.StatusCreated, "POST", "/api/keys", `{}`)
	by := []string{"Authorization", "Bearer " + adminKey.Secret}
	nobody.api(http.StatusForbidden, "POST", "/api/keys", `{}`, by...)
	nobody.api(http.StatusForbidden, "GET", "/api/keys?user=ada", "", by...)
	nobody.api(http.StatusNotFound, "GET", "/api/keys/"+sibling.Key.ID, "", by...)
	nobody.api(http.StatusNotFound, "DELETE", "/api/keys/"+sibling.Key.ID, "", by...)
	// The field decides, and not the cookie of whoever sends it.
	admin.api(http.StatusNotFound, "DELETE", "/api/keys/"+sibling.Key.ID, "", "Authorization", "Bearer "+service.Secret)
	admin.api(http.StatusUnauthorized, "GET", "/api/keys", "", "Authorization", "Bearer wrong")
	nobody.api(http.StatusOK, "DELETE", "/api/keys/"+adminKey.Key.ID, "", by...)
	nobody.api(http.StatusUnauthorized, "GET", "/api/keys", "", by...)

	// A password, and a token that was made of one, are no keys and no session.
	_, body := nobody.Want(http.StatusOK, "GET", "/token", nil,
		"Authorization", registrytest.Basic("erich", registrytest.Password))
	nobody.api(http.StatusForbidden, "GET", "/api/keys", "", "Authorization", "Bearer "+registrytest.Token(t, body))
	nobody.api(http.StatusUnauthorized, "GET", "/api/keys", "",
		"Authorization", registrytest.Basic("erich", registrytest.Password))
	nobody.api(http.StatusUnauthorized, "GET", "/api/keys", "")
	nobody.api(http.StatusUnauthorized, "POST", "/api/keys", `{}`)
	nobody.api(http.StatusUnauthorized, "DELETE", "/api/keys/"+sibling.Key.ID, "")

	forgetHeard()

	// Invalid requests.
	for _, row := range []struct{ name, body string }{
		{"no JSON", `{`},
		{"two objects", `{}{}`},
		{"an unknown member", `{"label": "x"}`},
		{"a time that is none", `{"expires": "soon"}`},
		{"a time gone by", `{"expires": "2020-01-01T00:00:00Z"}`},
		{"no time at all", `{"expires": "0d"}`},
		{"a time before now", `{"expires": "-1h"}`},
		{"too long a time", `{"expires": "91d"}`},
		{"a time without end", `{"expires": "99999999999999d"}`},
		{"an unknown action", `{"actions": ["push"]}`},
		{"a glob that is none", `{"globs": ["team/["]}`},
		{"a name of two lines", `{"name": "a\nb"}`},
		{"a long name", `{"name": "` + strings.Repeat("x", 101) + `"}`},
		{"a service account without a name", `{"user": ":"}`},
		{"too much", `{"name": "` + strings.Repeat("x", 100_000) + `"}`},
	} {
		if got := admin.api(http.StatusBadRequest, "POST", "/api/keys",
			row.body); strings.Contains(got.Errors[0].Message, "xxxx") {
			t.Errorf("%s: got %v", row.name, got.Errors)
		}
	}
	admin.api(http.StatusUnsupportedMediaType, "POST", "/api/keys", `{}`, "Content-Type", "text/plain")
	admin.api(http.StatusMethodNotAllowed, "PUT", "/api/keys", `{}`)
	admin.api(http.StatusMethodNotAllowed, "POST", "/api/keys/"+sibling.Key.ID, `{}`)
	admin.api(http.StatusNotFound, "GET", "/api/keys/", "")
	admin.api(http.StatusNotFound, "GET", "/api/keys/none", "")
	for _, field := range []string{"Sec-Fetch-Site", "Origin"} {
		value := map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}[field]
		admin.api(http.StatusForbidden, "POST", "/api/keys", `{}`, field, value)
		admin.api(http.StatusForbidden, "DELETE", "/api/keys/"+sibling.Key.ID, "", field, value)
	}
	admin.api(http.StatusForbidden, "GET", "/api/keys", "", "X-Forwarded-For", "192.0.2.1") // plain HTTP from afar
	if got := admin.api(http.StatusOK, "GET", "/api/keys/"+sibling.Key.ID, ""); got.Key.State != "active" {
		t.Errorf("what was refused was done: %+v", got.Key)
	}
	if _, body := admin.page(http.StatusOK, "/api/other", nil); body != "next" {
		t.Errorf("another path below /api/ is not the next handler's: %s", body)
	}
	wantHeard(t, "what was refused")
}

// A person has so many valid keys, by the API as by the page; an administrator makes
// so many for each service account.
func TestKeysOfAUserAreLimited(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), localPolicy+"local_user erich "+registrytest.PasswordHash()+
		" admins\nlocal_user ada "+registrytest.PasswordHash(), "")
	registrytest.Callers(t).Identity.Keys().SetMaxKeys(2)
	signIn := func(user string) *visitor {
		v := visit(t, port, nil)
		v.page(http.StatusSeeOther, "/login", passwordForm(user, registrytest.Password))
		return v
	}
	ada, erich := signIn("ada"), signIn("erich")
	first := ada.api(http.StatusCreated, "POST", "/api/keys", `{}`)
	ada.makeKey()
	ada.api(http.StatusForbidden, "POST", "/api/keys", `{"expires":"1h"}`)
	_, page := ada.page(http.StatusForbidden, "/user/apikey", url.Values{"do": {"make"}, "days": {"90"}})
	if !strings.Contains(page, "ada has 2, and may have 2; revoke one first") || shownKey.MatchString(page) {
		t.Errorf("the page says %s", page)
	}
	for range 2 {
		erich.api(http.StatusCreated, "POST", "/api/keys", `{"user":"ada"}`)
		erich.api(http.StatusCreated, "POST", "/api/keys", `{"user":"robot"}`)
		erich.api(http.StatusCreated, "POST", "/api/keys", `{}`)
	}
	for _, body := range []string{`{"user":"ada"}`, `{"user":"robot"}`, `{}`} {
		erich.api(http.StatusForbidden, "POST", "/api/keys", body)
	}
	ada.api(http.StatusOK, "DELETE", "/api/keys/"+first.Key.ID, "")
	ada.api(http.StatusCreated, "POST", "/api/keys", `{}`)
}
