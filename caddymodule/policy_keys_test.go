package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// IDs are in lists and in the audit, and people call their keys what they like. A rule
// about a key must give its rights to no other, by whatever the key is called.
func TestARuleAboutAKeyIsAboutThatKeyAlone(t *testing.T) {
	port, dir, log := freePort(t), t.TempDir(), filepath.Join(t.TempDir(), "log")
	text := func(id string) string {
		return strings.Replace(site(port, dir, `
		policy {
			allow anonymous read
			allow group admins *
			allow key deploy create update delete on blumeops/**
			allow key `+id+` create update delete on blumeops/**
			allow key nobody create on blumeops/**
		}
		local_user mallory `+testHash()+`
		local_user erich `+testHash()+` admins`, ""), "admin off", `admin off
	log {
		output file `+log+`
		format json
	}`, 1)
	}
	load(t, text("0123456789ab"))
	store := callersOf(t).Identity
	named := func(want identity.NewKey) (string, identity.Key) {
		t.Helper()
		secret, key, err := store.Keys().Create(context.Background(), want)
		if err != nil {
			t.Fatal(err)
		}
		return secret, key
	}
	_, admins := named(identity.NewKey{User: "release", Service: true, By: "erich"})
	load(t, text(admins.ID))
	store = callersOf(t).Identity
	if _, err := store.Users().SignedIn(t.Context(), identity.User{Name: "oidc-person", Issuer: "https://id.example", Subject: "1"}); err != nil {
		t.Fatal(err)
	}
	r := at(t, port)
	signIn := func(user string) *visitor {
		v := visit(t, port, nil)
		v.page(http.StatusSeeOther, "/login", passwordForm(user, testPassword))
		return v
	}
	mallory, erich := signIn("mallory"), signIn("erich")
	try := func(what, secret string, may bool) {
		t.Helper()
		_, body := r.want(http.StatusOK, "GET", "/token?scope=repository:blumeops/app:pull,push", nil, "Authorization", basic("x", secret))
		for _, bearer := range []string{secret, tokenOf(t, body)} {
			response, body := r.do("POST", "/v2/blumeops/app/blobs/uploads/", nil, "Authorization", "Bearer "+bearer)
			if got := response.StatusCode == http.StatusAccepted; got != may {
				t.Errorf("%s: got status %d, may push: want %v: %s", what, response.StatusCode, may, body)
			}
		}
	}
	for _, label := range []string{"deploy", "Deploy", "deplоy", " deploy", "deploy ", admins.ID, strings.ToUpper(admins.ID), "key " + admins.ID, "key deploy"} {
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
	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand, Actions: []string{"read"}})
	try("a narrowed service key", secret, false)
	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand, Globs: []string{"other/**"}})
	try("a service key narrowed to other repositories", secret, false)

	secret, _ = named(identity.NewKey{User: "robot", Name: "deploy", Service: true, By: control.ByCommand})
	try("a command's service key", secret, true)
	made := erich.api(http.StatusCreated, "POST", "/api/keys", `{"name":"deploy","user":"robot"}`)
	try("an administrator's service key", made.Secret, true)

	for _, want := range []string{`no valid key has the ID 0123456789ab`, `has the label \"deploy\"; rules match`, `has the label \"nobody\"`} {
		r.eventually("the log says "+want, func() bool { return strings.Contains(readFile(t, log), want) })
	}
	if strings.Contains(readFile(t, log), "has the ID "+admins.ID) {
		t.Error("a rule about a key that there is was warned of")
	}
}

func TestRulesAboutKeysThatThereAreNot(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	valid := now.Add(time.Hour)
	keys := []identity.Key{
		{ID: "00000000000a", Name: "ci", User: "robot", Service: true, By: control.ByCommand, Expires: valid},
		{ID: "00000000000b", Name: "laptop", User: "ada", By: "ada", Expires: valid},
		{ID: "00000000000c", Name: "old", User: "robot", Service: true, By: control.ByCommand, Expires: now},
		{ID: "00000000000d", Name: "gone", User: "robot", Service: true, By: control.ByCommand, Expires: valid, Revoked: now},
		{ID: "00000000000e", Name: "own", User: "erich", Service: true, By: "erich", Expires: valid},
	}
	for _, row := range []struct{ line, want string }{
		{"anonymous read", ""},
		{"user laptop read", ""},
		{"key ci read", ""},
		{"key 00000000000a read", ""},
		{"key 00000000000B read", ""},
		{"key laptop read", "people made for themselves"},
		{"key own read", "people made for themselves"},
		{"key old read", "no valid key of a service account"},
		{"key gone read", "no valid key of a service account"},
		{"key CI read", "no valid key of a service account"},
		{"key 00000000000c read", "no valid key has the ID"},
		{"key 00000000000f read", "no valid key has the ID"},
	} {
		for _, deny := range []bool{false, true} {
			rule, err := policies.ParseRule(deny, strings.Fields(row.line))
			if err != nil {
				t.Fatal(err)
			}
			why := ""
			for _, idle := range idleRules(keyRules([]policies.Rule{rule}), keys, now) {
				why += idle.why
			}
			if row.want == "" && why != "" || !strings.Contains(why, row.want) {
				t.Errorf("%s: got %q, want it to say %q", row.line, why, row.want)
			}
		}
	}
}
