package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/chromium"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// The password of all local users, and the output of `hash-password` for it.
const (
	password = "the door is open"
	hash     = "$2a$10$td7NJWShfKFAh3.3RspxRe.u70t/6rWt15oFqsOwi/FiA0MzmLp9i"
)

// name is how the browser calls the registry: without a port, as people do.
const name = "registry.example.org"

const caddyfile = `{
	grace_period 1s
	skip_install_trust
	auto_https disable_redirects
	oci {
		storage file {$REGISTRY_DATA}
		url https://` + name + `
		local_user erich ` + hash + ` admins
		local_user zot-ci ` + hash + ` artifact-workloads
%s		policy {
			allow anonymous read fetch on blumeops/** tools/** charts/** docker.io/** ghcr.io/** quay.io/**
			allow group artifact-workloads read fetch create on blumeops/** charts/**
			allow group admins *
		}
	}
}

https://` + name + `:{$REGISTRY_PORT}, https://127.0.0.1:{$REGISTRY_PORT} {
	tls internal
	oci_registry
}
`

// house is a registry, and a browser.
type house struct {
	*testing.T
	*server.Server
	options server.Options
	ctx     context.Context
	pushed
}

// open starts a registry. unit fills it; 0: it is empty.
func open(t *testing.T, unit int) *house {
	t.Helper()
	server.Tool(t, "chromium")
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	ghcr := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.GHCR})
	quay := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Open})
	mirrors := ""
	if unit > 0 {
		mirrors = mirror.Block("docker.io", hub) + mirror.Block("ghcr.io", ghcr) + mirror.Block("quay.io", quay)
	}
	h := &house{T: t, options: server.Options{Caddyfile: fmt.Sprintf(caddyfile, mirrors), Scheme: "https"}}
	h.Server = server.Start(t, h.options)
	h.options.Data, h.options.Port = h.Data, h.Port
	if unit > 0 {
		key, _ := h.Key(t, "erich", "admins")
		c := newContent(t, client.New(h.URL).Login("erich", key), unit)
		h.pushed = c.private()
		c.mirrored(hub, ghcr)
		c.trouble(hub, ghcr)
	}
	h.ctx = chromium.Start(t, chromedp.Flag("host-resolver-rules", "MAP "+name+":443 "+h.Host))
	return h
}

// do runs actions, and prints the page if they do not finish.
func (h *house) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		text, _ := chromedp.Run(h.ctx, chromedp.Text(chromedp.CSS("body")))
		address, _ := chromedp.Run(h.ctx, chromedp.Location())
		h.Fatalf("%s: %v\n%s\n%s", what, err, address, text)
	}
}

// visit opens a page.
func (h *house) visit(path string) {
	h.Helper()
	h.do("open "+path, chromedp.Navigate("https://"+name+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// has fails the test if the page lacks a text.
func (h *house) has(texts ...string) {
	h.Helper()
	got, err := chromedp.Run(h.ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		h.Fatal(err)
	}
	for _, text := range texts {
		if !strings.Contains(got, text) {
			h.Errorf("the page lacks %q:\n%s", text, got)
		}
	}
}

// signIn signs in with a password, whoever was signed in before.
func (h *house) signIn(user string) {
	h.Helper()
	h.visit("/login")
	h.do("sign in as "+user,
		chromedp.SendKeys(chromedp.CSS(`input[name=username]`), user),
		chromedp.SendKeys(chromedp.CSS(`input[name=password]`), password),
		chromedp.Click(chromedp.ID("login")),
		chromedp.WaitVisible(chromedp.Search(`//nav/a[@href="/logout" and contains(., "`+user+`")]`)))
}

func (h *house) signOut() {
	h.Helper()
	h.visit("/logout")
	h.do("sign out", chromedp.Click(chromedp.CSS("main button")), chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Signed out")]`)))
}

// keys makes keys of every state for a user, as programs do, and returns the ID of the first.
func (h *house) keys(user string) (id string) {
	h.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.Fatal(err)
	}
	c := server.Client(patience)
	c.Jar = jar
	response, err := c.PostForm(h.URL+"/login", url.Values{"username": {user}, "password": {password}})
	if err != nil {
		h.Fatal(err)
	}
	response.Body.Close()
	ask := func(method, path string, body any, want int) (answer struct {
		Key struct{ ID, State string }
	}) {
		h.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			h.Fatal(err)
		}
		request, err := http.NewRequestWithContext(h.Context(), method, h.URL+path, bytes.NewReader(data))
		if err != nil {
			h.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := c.Do(request)
		if err != nil {
			h.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != want {
			h.Fatalf("%s %s: %s", method, path, response.Status)
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			h.Fatal(err)
		}
		return answer
	}
	last := ask("POST", "/api/keys", map[string]any{"name": "lab", "expires": "1s"}, http.StatusCreated).Key.ID
	gone := ask("POST", "/api/keys", map[string]any{"name": "old laptop", "expires": "60d"}, http.StatusCreated).Key.ID
	ask("DELETE", "/api/keys/"+gone, nil, http.StatusOK)
	id = ask("POST", "/api/keys", map[string]any{"name": "laptop", "expires": "90d"}, http.StatusCreated).Key.ID
	ask("POST", "/api/keys", map[string]any{"name": "k3s", "expires": "60d", "actions": []string{"read", "fetch"}}, http.StatusCreated)
	ask("POST", "/api/keys", map[string]any{"name": "ci", "expires": "9d", "actions": []string{"read", "create"}, "globs": []string{"blumeops/**"}}, http.StatusCreated)
	if err := server.Eventually(patience, func() (bool, error) {
		return ask("GET", "/api/keys/"+last, nil, http.StatusOK).Key.State == "expired", nil
	}); err != nil {
		h.Fatal(err)
	}
	return id
}
