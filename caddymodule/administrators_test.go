package caddymodule_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// logged is a Caddyfile that logs to a file, and what the file has so far.
func logged(t *testing.T, text string) (caddyfile string, lines func() string) {
	path := filepath.Join(t.TempDir(), "log")
	caddyfile = strings.Replace(text, "admin off", "admin off\n\tlog {\n\t\toutput file "+path+
		"\n\t\tformat json\n\t}", 1)
	return caddyfile, func() string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

const twoAdmins = "\nlocal_user erich %HASH admins\nlocal_user ada %HASH admins"

// Two administrators disable each other at the same moment, each in a browser: one of
// them succeeds, and can still enable the other.
func TestTwoAdministratorsDisableEachOther(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(),
		localPolicy+strings.ReplaceAll(twoAdmins, "%HASH", registrytest.PasswordHash()), "")
	visitors := map[string]*visitor{}
	for _, name := range []string{"erich", "ada"} {
		visitors[name] = visit(t, port, nil)
	}
	for range 3 {
		for name, v := range visitors { // the one who was disabled is out
			v.page(http.StatusSeeOther, "/login", passwordForm(name, registrytest.Password))
		}
		var (
			done    sync.WaitGroup
			start   = make(chan struct{})
			answers sync.Map // by name: where the browser was led, or the status
		)
		for name, other := range map[string]string{"erich": "ada", "ada": "erich"} {
			v := visitors[name]
			form := url.Values{"do": {"disable"}, "user": {other}, "sure": {"yes"}}
			done.Go(func() {
				<-start
				response, err := v.client.PostForm(v.Base+"/user/apikey", form)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				answers.Store(name, response.Status+" "+response.Header.Get("Location"))
			})
		}
		close(start)
		done.Wait()
		var winner, loser string
		for name, other := range map[string]string{"erich": "ada", "ada": "erich"} {
			answer, _ := answers.Load(name)
			if answer == "303 See Other /admin/users" {
				if winner != "" {
					t.Fatal("both have disabled each other")
				}
				winner, loser = name, other
			}
		}
		if winner == "" {
			answers.Range(func(name, answer any) bool { t.Log(name, answer); return true })
			t.Fatal("neither has disabled the other")
		}
		visitors[winner].page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"enable"}, "user": {loser}})
	}
}

// A start logs that nobody can administer where somebody should, and so does the
// provider's word that took the last one away.
func TestNoAdministratorIsKnown(t *testing.T) {
	t.Setenv("TEST_OIDC_SECRET", "secret")
	port, dir, fake := registrytest.FreePort(t), t.TempDir(), oidctest.New(t, "registry")
	fake.Token["refresh_token"] = "refresh"
	text, log := logged(t,
		registrytest.Caddyfile(port, dir, "policy {\nallow anonymous read\nallow group admins *\n}\n"+
			oidcBlock(fake, port, "group_refresh 1ns"), ""))
	warnings := func() int { return strings.Count(log(), `"msg":"`+admins.Warning+`"`) }
	registrytest.Load(t, text)
	if got := warnings(); got != 0 {
		t.Errorf("before anybody has signed in, there are %d warnings: %s", got, log())
	}
	v := visit(t, port, fake)
	v.signIn()
	registrytest.Load(t, text)
	if got := warnings(); got != 0 {
		t.Errorf("with ada there are %d warnings: %s", got, log())
	}
	registrytest.Load(t, strings.Replace(text, "group admins", "group admns", 1))
	if got := warnings(); got != 1 {
		t.Errorf("with a group that nobody has there are %d warnings, want 1: %s", got, log())
	}
	registrytest.Load(t, text)
	fake.Claims["groups"] = []string{"others"}
	v.Eventually("the provider's answer took the group", func() bool {
		v.page(http.StatusOK, "/", nil)
		user, _ := registrytest.Callers(t).Identity.Users().Get("ada")
		return len(user.Groups) == 1 && user.Groups[0] == "others"
	})
	v.Eventually("that is logged", func() bool { return warnings() == 2 })
	fake.Claims["groups"] = []string{"admins"}
	v.Eventually("the provider's answer gave it back", func() bool {
		v.page(http.StatusOK, "/", nil)
		user, _ := registrytest.Callers(t).Identity.Users().Get("ada")
		return len(user.Groups) == 1 && user.Groups[0] == "admins"
	})
	if got := warnings(); got != 2 {
		t.Errorf("got %d warnings, want no more than the two: %s", got, log())
	}
}

// The command disables whom the pages do not, says so, and is audited; with a server and
// without.
func TestTheCommandDisablesTheLastAdministrator(t *testing.T) {
	port, dir := registrytest.FreePort(t), t.TempDir()
	text, log := logged(t,
		registrytest.Caddyfile(port, dir,
			localPolicy+strings.ReplaceAll(twoAdmins, "%HASH", registrytest.PasswordHash()), ""))
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, text)
	const warning = "is the last administrator who can sign in"
	disable := func(name string, warns bool, more ...string) {
		t.Helper()
		out, told, status := registrytest.Run(t, append([]string{"user", "disable", name}, more...)...)
		if status != registrytest.Done || out != "disabled "+name+"\n" ||
			strings.Contains(told, name+" "+warning) != warns {
			t.Errorf("disable %s: got status %d, %q, and %s", name, status, out, told)
		}
	}
	enable := func() {
		t.Helper()
		for _, name := range []string{"ada", "erich"} {
			if _, told, status := registrytest.Run(t, "user", "enable", name,
				"--config", config); status != registrytest.Done {
				t.Fatal(told)
			}
		}
	}
	disable("ada", false, "--storage", dir)
	disable("zot-ci", false, "--storage", dir)
	disable("erich", true, "--storage", dir) // the running registry knows its policy
	disable("erich", false, "--config", config)
	enable()
	for _, want := range []string{
		`"msg":"registry_user_disabled","by":"command","account":"erich"`,
		`"msg":"registry_user_enabled","by":"command","account":"erich"`,
		`"msg":"` + admins.Warning + `","user":"erich"`,
	} {
		if !strings.Contains(log(), want) {
			t.Errorf("the log lacks %s: %s", want, log())
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Released(t)
	disable("ada", false, "--config", config)
	disable("erich", true, "--config", config)
	enable()
	disable("ada", false, "--storage", dir)
	disable("erich", false, "--storage", dir) // without a configuration nobody knows
}

// Keys make nobody an administrator: a key of the group admins cannot do on the pages
// what would make up for the last administrator, and revoking keys is never refused.
func TestKeysAreNoAdministrators(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), localPolicy+"\nlocal_user erich "+registrytest.PasswordHash()+
		" admins", "")
	store := registrytest.Callers(t).Identity
	secret, _, err := store.Keys().Create(t.Context(),
		identity.NewKey{User: "robot", Service: true, Groups: []string{"admins"}, By: control.ByCommand})
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, port, nil)
	v.Want(http.StatusForbidden, "POST", "/api/keys", strings.NewReader(`{"user":"other"}`),
		"Authorization", "Bearer "+secret, "Content-Type", "application/json")
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	own := v.makeKey()
	v.page(http.StatusConflict, "/user/apikey", url.Values{"do": {"disable"}, "user": {"erich"}, "sure": {"yes"}})
	for _, key := range store.Keys().List("") {
		v.page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"revoke"}, "id": {key.ID}, "sure": {"yes"}})
	}
	for _, dead := range []string{secret, own} {
		v.Want(http.StatusUnauthorized, "GET", "/v2/", nil, "Authorization", "Bearer "+dead)
	}
	// erich signs in by the password as before, and administers.
	v.page(http.StatusOK, "/logout", url.Values{})
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	v.page(http.StatusSeeOther, "/user/apikey", url.Values{"do": {"disable"}, "user": {"robot"}, "sure": {"yes"}})
	if user, _ := store.Users().Get("robot"); !user.Disabled {
		t.Error("erich cannot administer after a key was revoked")
	}
}
