package caddymodule_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// IDs are in lists and in the audit, and people call their keys what they like. A rule
// about a key must give its rights to no other, by whatever the key is called.
func TestARuleAboutAKeyIsAboutThatKeyAlone(t *testing.T) {
	port, dir, log := registrytest.FreePort(t), t.TempDir(), filepath.Join(t.TempDir(), "log")
	text := func(id string) string {
		return strings.Replace(registrytest.Caddyfile(port, dir, `
		policy {
			allow anonymous read
			allow group admins *
			allow key deploy create update delete on blumeops/**
			allow key `+id+` create update delete on blumeops/**
			allow key nobody create on blumeops/**
		}
		local_user mallory `+registrytest.PasswordHash()+`
		local_user erich `+registrytest.PasswordHash()+` admins`, ""), "admin off", `admin off
	log {
		output file `+log+`
		format json
	}`, 1)
	}
	registrytest.Load(t, text("0123456789ab"))
	store := registrytest.Callers(t).Identity
	named := func(want identity.NewKey) (string, identity.Key) {
		t.Helper()
		secret, key, err := store.Keys().Create(context.Background(), want)
		if err != nil {
			t.Fatal(err)
		}
		return secret, key
	}
	_, admins := named(identity.NewKey{User: "release", Service: true, By: "erich"})
	registrytest.Load(t, text(admins.ID))
	store = registrytest.Callers(t).Identity
	if _, err := store.Users().SignedIn(t.Context(),
		identity.User{Name: "oidc-person", Issuer: "https://id.example", Subject: "1"}); err != nil {
		t.Fatal(err)
	}
	r := registrytest.At(t, port)
	signIn := func(user string) *visitor {
		v := visit(t, port, nil)
		v.page(http.StatusSeeOther, "/login", passwordForm(user, registrytest.Password))
		return v
	}
	mallory, erich := signIn("mallory"), signIn("erich")
	try := func(what, secret string, may bool) {
		t.Helper()
		_, body := r.Want(http.StatusOK, "GET", "/token?scope=repository:blumeops/app:pull,push", nil,
			"Authorization", registrytest.Basic("x", secret))
		for _, bearer := range []string{secret, registrytest.Token(t, body)} {
			response, body := r.Do("POST", "/v2/blumeops/app/blobs/uploads/", nil, "Authorization", "Bearer "+bearer)
			if got := response.StatusCode == http.StatusAccepted; got != may {
				t.Errorf("%s: got status %d, may push: want %v: %s", what, response.StatusCode, may, body)
			}
		}
	}
	for _, label := range []string{"deploy", "Deploy", "deplоy", " deploy", "deploy ", admins.ID,
		strings.ToUpper(admins.ID), "key " + admins.ID, "key deploy"} {
		made := mallory.api(http.StatusCreated, "POST", "/api/keys", fmt.Sprintf(`{"name":%q}`, label))
		try("a local user's key "+label, made.Secret, false)
		secret, _ := named(identity.NewKey{User: "oidc-person", Name: label, By: "oidc-person"})
		try("a provider's person's key "+label, secret, false)
	}
	mallory.api(http.StatusForbidden, "POST", "/api/keys", `{"name":"deploy","user":"mallory"}`)
	mallory.api(http.StatusForbidden, "POST", "/api/keys", `{"name":"deploy","user":"robot","groups":["admins"]}`)

	// A service account's key that somebody made in their own name is their own.
	secret, _ := named(identity.NewKey{User: "mallory", Name: "deploy", Service: true, By: "mallory"})
	try("a key that mallory made as a service account", secret, false)
	secret, _ = named(identity.NewKey{User: "robot", Name: admins.ID, Service: true, By: control.ByCommand})
	try("a service key labelled with an ID", secret, false)
	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand,
		Actions: []string{"read"}})
	try("a narrowed service key", secret, false)
	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand,
		Globs: []string{"other/**"}})
	try("a service key narrowed to other repositories", secret, false)

	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand})
	try("a command's service key", secret, true)
	made := erich.api(http.StatusCreated, "POST", "/api/keys", `{"name":"deploy","user":"robot"}`)
	try("an administrator's service key", made.Secret, true)

	for _, want := range []string{`no valid key has the ID 0123456789ab`, `has the label \"deploy\"; rules match`,
		`has the label \"nobody\"`} {
		r.Eventually("the log says "+want, func() bool { return strings.Contains(registrytest.ReadFile(t, log), want) })
	}
	if strings.Contains(registrytest.ReadFile(t, log), "has the ID "+admins.ID) {
		t.Error("a rule about a key that there is was warned of")
	}
}
