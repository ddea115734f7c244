package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A misspelt mirror is explained to callers who may read something of the mirrors that the
// explanation names, and to nobody else.
func TestNamesOfNoMirrorAreExplained(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	port := registrytest.FreePort(t)
	block := " {\nupstream " + up.URL + "\n" + registrytest.Unhurried + "\n}\n"
	r := registrytest.Serve(t, port, t.TempDir(), "private team/**\nmirror docker.io"+block+"mirror ghcr.io"+block+
		"mirror secret.example"+block+`policy {
			allow anonymous read fetch on docker.io/** team/**
			allow group builders read fetch create on docker.io/** ghcr.io/** team/**
			allow group admins *
		}`, "")
	key := func(group string) string {
		t.Helper()
		secret, _, err := registrytest.Callers(t).Identity.Keys().Create(t.Context(),
			identity.NewKey{User: group, Service: true, Groups: []string{group}, By: "command"})
		if err != nil {
			t.Fatal(err)
		}
		return registrytest.Basic(group, secret)
	}
	builders, admins, others := key("builders"), key("admins"), key("others")
	const pull = "/manifests/v1"
	for _, row := range []struct {
		name, method, path, by string
		status                 int
		want, not              string
	}{
		{"anybody pulls", "GET", "/v2/docker.oi/library/app" + pull, "", 404,
			"no mirror of docker.oi; configured: docker.io; did you mean docker.io?", "ghcr.io"},
		{"somebody pulls who may read more", "GET", "/v2/docker.oi/library/app" + pull, builders, 404,
			"configured: docker.io, ghcr.io; did you mean docker.io?", "secret"},
		{"an admin pulls", "GET", "/v2/gchr.io/app" + pull, admins, 404,
			"configured: docker.io, ghcr.io, secret.example; did you mean ghcr.io?", ""},
		{"somebody pulls who may read no more than anybody", "GET", "/v2/docker.oi/library/app" + pull, others, 404,
			"configured: docker.io; did you", "ghcr.io"},
		{"a wrong key pulls", "GET", "/v2/docker.oi/library/app" + pull, registrytest.Basic("x", "wrong"), 404,
			"configured: docker.io; did you", "ghcr.io"},
		{"a mirror that is hidden is not meant", "GET", "/v2/secert.example/app" + pull, builders, 404,
			"no mirror of secert.example; configured: docker.io, ghcr.io", "did you mean"},
		{"by ns", "GET", "/v2/library/app" + pull + "?ns=docker.oi", "", 404,
			"no mirror of docker.oi; configured: docker.io", ""},
		{"a list of tags", "GET", "/v2/docker.oi/library/app/tags/list", "", 404, "did you mean docker.io?", ""},
		{"somebody pushes", "POST", "/v2/docker.oi/library/app/blobs/uploads/", builders, 403,
			"keeps team/**; no mirror of docker.oi; configured: docker.io, ghcr.io; did you mean docker.io?", ""},
		{"a name without a host", "GET", "/v2/library/app" + pull, "", 404, "not known", "no mirror"},
		{"a private name", "GET", "/v2/team/app" + pull, "", 404, "not known", "no mirror"},
		{"a mirror's name", "POST", "/v2/docker.io/library/app/blobs/uploads/", builders, 403,
			"docker.io is a pull-through cache, to which nothing can be pushed; push to team/**", "no mirror"},
		{"a mirror's name by an admin", "PUT", "/v2/docker.io/library/app" + pull, admins, 403,
			"docker.io is a pull-through cache, to which nothing can be pushed; push to team/**", ""},
		{"a deletion in a mirror", "DELETE", "/v2/docker.io/library/app" + pull, builders, 403, "may not delete",
			"pull-through"},
		{"a mirror's name that is hidden", "POST", "/v2/secret.example/app/blobs/uploads/", builders, 404, "not known",
			"pull-through"},
	} {
		fields := []string{}
		if row.by != "" {
			fields = []string{"Authorization", row.by}
		}
		_, body := r.Want(row.status, row.method, row.path, nil, fields...)
		if !strings.Contains(string(body), row.want) || row.not != "" && strings.Contains(string(body), row.not) {
			t.Errorf("%s: got %s, want %q and not %q", row.name, body, row.want, row.not)
		}
	}
	// A name of nobody is as long as it is; what is said of it is not.
	_, body := r.Want(404, "GET", "/v2/"+strings.Repeat("d", 150)+".oi/app"+pull, nil)
	if len(body) > 1000 || !strings.Contains(string(body), "no mirror of dddd") {
		t.Errorf("got %d bytes: %s", len(body), body)
	}
}

// A client that asks what is there in order to push goes on although the upstream is away,
// to be told that nobody can; one that pulls hears of the trouble.
func TestALookBeforeAPushToAMirror(t *testing.T) {
	up := httptest.NewServer(nil)
	up.Close() // nobody listens there any more
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), "private team/**\nmirror docker.io {\nupstream "+up.URL+"\n}", "")
	secret, _ := registrytest.Key(t)
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, row := range []struct {
		scope string
		want  map[string]int // by what is asked
	}{
		{"pull,push",
			map[string]int{"HEAD blobs/" + digest: 404, "HEAD manifests/v1": 404, "GET manifests/v1": 502,
				"GET blobs/" + digest: 502}},
		{"pull", map[string]int{"HEAD blobs/" + digest: 502, "HEAD manifests/v1": 502, "GET manifests/v1": 502, "GET " +
			"blobs/" + digest: 502}},
	} {
		for _, field := range []string{registrytest.Basic("zot-ci", secret), ""} { // a login, and none
			fields := []string{}
			if field != "" {
				fields = []string{"Authorization", field}
			}
			_, body := r.Want(http.StatusOK, "GET", "/token?scope=repository:docker.io/library/app:"+row.scope,
				nil, fields...)
			for ask, status := range row.want {
				method, what, _ := strings.Cut(ask, " ")
				response, answer := r.Do(method, "/v2/docker.io/library/app/"+what, nil,
					"Authorization", "Bearer "+registrytest.Token(t, body))
				if response.StatusCode != status {
					t.Errorf("with the scope %s, %s: got %d %s, want %d", row.scope, ask, response.StatusCode,
						answer, status)
				}
			}
		}
	}
	// Without a token nobody says what the question is for.
	r.Want(http.StatusBadGateway, "HEAD", "/v2/docker.io/library/app/blobs/"+digest, nil,
		"Authorization", registrytest.Basic("zot-ci", secret))
}

// Credentials over plain HTTP are warned of once for each address, and a site that takes
// none at its start.
func TestPlainHTTPIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	log, socket := "", dir+"/s"
	port := registrytest.FreePort(t)
	for i, row := range []struct {
		options, global, url string
		warned               bool
		remedy               string
	}{
		{"", "", "", true, "use a site with HTTPS, or set insecure_credentials"},
		{"", "", "url https://registry.example.org/", true,
			"use https://registry.example.org, or set insecure_credentials"},
		{"read_only", "", "", false, ""},
		{"insecure_credentials", "", "", false, ""},
		{"", "servers {\n trusted_proxies static 192.0.2.0/24\n }", "", false, ""},
	} {
		log = fmt.Sprintf("%s/log%d", dir, i)
		text := registrytest.Caddyfile(port, t.TempDir(), row.url, "")
		text = strings.Replace(text, "admin off", "admin off\n\t"+row.global+"\n\tlog {\n\t\toutput file "+log+
			" {\n\t\t\tmode 0600\n\t\t}\n\t\tformat json\n\t}", 1)
		// Another machine can reach a socket by way of whatever forwards to it.
		text += fmt.Sprintf("\nhttp://plain.example {\n\tbind unix/%s\n\thandle {\n\t\toci_registry {\n\t\t\t%s\n"+
			"\t\t}\n\t}\n}\n", socket, row.options)
		registrytest.Load(t, text)
		logged := registrytest.ReadFile(t, log)
		const sentence = "site takes no credentials over plain HTTP"
		if got := strings.Contains(logged, sentence); got != row.warned {
			t.Errorf("%q %q: warned %v, want %v: %s", row.options, row.global, got, row.warned, logged)
		}
		if row.warned &&
			(!strings.Contains(logged, row.remedy) || !strings.Contains(logged, `"hosts":"plain.example"`) ||
				strings.Count(logged, sentence) != 1) {
			t.Errorf("%q: want the remedy %q, of one site: %s", row.url, row.remedy, logged)
		}
	}
	r := registrytest.At(t, port)
	for range 3 {
		for _, from := range []string{"198.51.100.1", "2001:db8::1", "2001:db8::2"} {
			_, body := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil,
				"Authorization", registrytest.Basic("x", "y"), "X-Forwarded-For", from)
			if !strings.Contains(string(body), "use a site with HTTPS, or set insecure_credentials") {
				t.Errorf("the answer names no remedy: %s", body)
			}
		}
	}
	if n := strings.Count(registrytest.ReadFile(t, log), "credentials were sent over plain HTTP"); n != 1 {
		t.Errorf("got %d warnings of one proxy that nobody trusts, want one", n)
	}
}
