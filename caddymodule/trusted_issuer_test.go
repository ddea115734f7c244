package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

const forgeAudience = "registry.example.org"

// forgeJob are the claims of a job, changed by others; a nil takes one out.
func forgeJob(forge *oidctest.Provider, changes map[string]any) map[string]any {
	claims := map[string]any{
		"aud": forgeAudience, "sub": "repo:blumeops/app:ref:refs/heads/main",
		"exp":        time.Now().Add(10 * time.Minute).Unix(),
		"repository": "blumeops/app", "repository_owner": "blumeops", "ref": "refs/heads/main", "sid": nil,
		"preferred_username": nil, "groups": nil,
	}
	for name, value := range changes {
		claims[name] = value
	}
	return forge.With(claims)
}

// withForge loads a registry that trusts an issuer, with further blocks of oci.
func withForge(t *testing.T, blocks string) (*registrytest.Registry, *oidctest.Provider, string) {
	t.Helper()
	forge, port := oidctest.New(t, forgeAudience), registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, t.TempDir(), strings.ReplaceAll(blocks, "ISSUER", forge.Issuer)+`
		policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create on blumeops/**
			allow user workload:forge create on tools/**
			allow group admins *
		}`, "")
	registrytest.Load(t, text)
	return registrytest.At(t, port), forge, text
}

const trustForge = `trusted_issuer ISSUER {
			audience registry.example.org
			claim repository_owner blumeops
			claim ref refs/heads/main refs/tags/*
			user forge
			groups artifact-workloads "owner {claims.repository_owner}"
		}`

// pushes tells whether a caller may begin an upload.
func pushes(r *registrytest.Registry, status int, repo, authorization string) []byte {
	r.Helper()
	_, body := r.Want(status, "POST", "/v2/"+repo+"/blobs/uploads/", nil, "Authorization", authorization)
	return body
}

func TestAJobPushesWithItsOwnToken(t *testing.T) {
	r, forge, _ := withForge(t, trustForge)
	token := forge.Sign(forgeJob(forge, nil))
	ways := map[string]string{"Bearer": "Bearer " + token, "Basic": registrytest.Basic("anybody", token)}

	// At the token endpoint, by each way in which a client asks.
	_, body := r.Want(http.StatusOK, "GET", "/token?scope=repository:blumeops/app:pull,push", nil,
		"Authorization", ways["Basic"])
	ways["exchanged"] = "Bearer " + registrytest.Token(t, body)
	for grant, values := range map[string]url.Values{
		"password":      {"grant_type": {"password"}, "username": {"x"}, "password": {token}},
		"refresh_token": {"grant_type": {"refresh_token"}, "refresh_token": {token}},
	} {
		_, body = r.Want(http.StatusOK, "POST", "/token", strings.NewReader(values.Encode()),
			"Content-Type", "application/x-www-form-urlencoded")
		ways[grant] = "Bearer " + registrytest.Token(t, body)
	}
	var answer struct {
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.ExpiresIn != 300 {
		t.Errorf("got %s, %v; want a token for 5 minutes", body, err)
	}

	i := 0
	for way, authorization := range ways {
		i++
		tag := fmt.Sprint("v", i)
		other := strings.Replace(emptyIndex, "[]", fmt.Sprintf(`[],"annotations":{"a":%q}`, way), 1)
		r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", authorization)
		putIndex(r, http.StatusCreated, "blumeops/app", tag, emptyIndex, "Authorization", authorization)
		putIndex(r, http.StatusCreated, "blumeops/app", tag, emptyIndex, "Authorization", authorization) // again
		putIndex(r, http.StatusForbidden, "blumeops/app", tag, other, "Authorization", authorization)
		r.Want(http.StatusForbidden, "DELETE", "/v2/blumeops/app/manifests/"+tag, nil, "Authorization", authorization)
		pushes(r, http.StatusForbidden, "others/app", authorization)
		putIndex(r, http.StatusCreated, "tools/"+strings.ToLower(way), tag, emptyIndex,
			"Authorization", authorization) // by its user
	}
	if got := r.Metric(`registry_logins_total{method="workload",result="ok"}`); got < 3 {
		t.Errorf("counted %v logins, want 3", got)
	}
	if got := forge.Count("/keys"); got != 1 {
		t.Errorf("the issuer was asked %d times, want 1", got)
	}
}

func TestTokensOfJobsThatAreRefused(t *testing.T) {
	r, forge, _ := withForge(t, trustForge)
	stranger := oidctest.New(t, forgeAudience)
	for _, row := range []struct {
		name, token, says string
	}{
		{"another audience", forge.Sign(forgeJob(forge, map[string]any{"aud": "https://github.com/blumeops"})),
			"audience"},
		{"another repository's", forge.Sign(forgeJob(forge, map[string]any{"repository_owner": "evil"})),
			"claim repository_owner"},
		{"a branch", forge.Sign(forgeJob(forge, map[string]any{"ref": "refs/heads/a"})), "claim ref"},
		{"a claim that is missing", forge.Sign(forgeJob(forge, map[string]any{"repository_owner": nil})),
			"claim repository_owner"},
		{"expired", forge.Sign(forgeJob(forge, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), "expired"},
		{"by another issuer that says it is ours", stranger.Sign(forgeJob(forge, nil)), "no key of the issuer"},
		{"unsigned", oidctest.Unsigned(forgeJob(forge, nil)), "malformed"},
		{"of another issuer", stranger.Sign(forgeJob(stranger, nil)), "wrong credentials"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &registrytest.Registry{T: t, Base: r.Base}
			// A user of its own for each row, and Bearer once: failures are counted.
			credential := registrytest.Basic(row.name, row.token)
			for _, authorization := range []string{"Bearer " + row.token, credential} {
				body := string(pushes(r, http.StatusUnauthorized, "blumeops/app", authorization))
				if !strings.Contains(body, row.says) || strings.Contains(body, row.token) {
					t.Errorf("%.6s: got %s, want it to say %q and not the token", authorization, body, row.says)
				}
			}
			r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", credential)
			r.Want(http.StatusUnauthorized, "GET", "/v2/_catalog", nil, "Authorization", credential)
		})
	}
}

// A registry token that was made of a job's gives nobody more time.
func TestATokenMadeOfAJobsEndsWithIt(t *testing.T) {
	r, forge, _ := withForge(t, trustForge)
	ends := time.Now().Add(90 * time.Second)
	credential := registrytest.Basic("x", forge.Sign(forgeJob(forge, map[string]any{"exp": ends.Unix()})))
	for range 3 { // each made of the one before
		_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", credential)
		var answer struct {
			Token     string    `json:"token"`
			ExpiresIn int64     `json:"expires_in"`
			IssuedAt  time.Time `json:"issued_at"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		if end := answer.IssuedAt.Unix() + answer.ExpiresIn; end > ends.Unix() {
			t.Errorf("the token ends %d s after the job's", end-ends.Unix())
		}
		credential = registrytest.Basic("x", answer.Token)
	}
	// It would end before a client can use it.
	ends = time.Now().Add(time.Second).Truncate(time.Second)
	for range 3 {
		credential = registrytest.Basic("x", forge.Sign(forgeJob(forge, map[string]any{"exp": ends.Unix()})))
		r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", credential)
	}
}

func TestTheFirstBlockThatHoldsSaysWho(t *testing.T) {
	r, forge, _ := withForge(t, "trusted_issuer ISSUER {\n audience registry.example.org\n"+
		" condition `claims.environment == \"release\"`\n user {claims.repository}\n groups admins\n }\n"+trustForge)
	release := "Bearer " + forge.Sign(forgeJob(forge, map[string]any{"environment": "release"}))
	other := "Bearer " + forge.Sign(forgeJob(forge, nil))
	pushes(r, http.StatusAccepted, "others/app", release)
	pushes(r, http.StatusAccepted, "blumeops/app", other) // for which the first block cannot be evaluated
	pushes(r, http.StatusForbidden, "others/app", other)
	nobody := "Bearer " + forge.Sign(forgeJob(forge, map[string]any{"repository_owner": "evil"}))
	if body := string(pushes(r, http.StatusUnauthorized, "blumeops/app", nobody)); !strings.Contains(body,
		"environment") || !strings.Contains(body, "repository_owner") {
		t.Errorf("got %s, want what each block misses", body)
	}
}

// 503 makes clients come again. A 401 would tell them that their token is wrong.
func TestAnIssuerThatDoesNotAnswer(t *testing.T) {
	r, forge, text := withForge(t, trustForge)
	forge.Down = true
	token := forge.Sign(forgeJob(forge, nil))
	for _, authorization := range []string{"Bearer " + token, registrytest.Basic("x", token)} {
		response, _ := r.Want(http.StatusServiceUnavailable, "GET", "/v2/_catalog", nil, "Authorization", authorization)
		if response.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		r.Want(http.StatusServiceUnavailable, "GET", "/token", nil, "Authorization", authorization)
	}
	r.Want(http.StatusOK, "GET", "/v2/_catalog", nil) // others are served
	key, _ := registrytest.Key(t)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", registrytest.Basic("zot-ci", key))
	forge.Down = false
	r.Eventually("the issuer is asked again", func() bool {
		response, _ := r.Do("GET", "/v2/", nil, "Authorization", "Bearer "+token)
		return response.StatusCode == http.StatusOK
	})
	// The keys outlive a reload, during which the issuer may be down.
	forge.Down = true
	registrytest.Load(t, text)
	r.Want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer "+token)
}

// A workload is not a person: it has no person's name, no keys and no session, but can be
// disabled like one.
func TestAJobIsNoPerson(t *testing.T) {
	r, forge, _ := withForge(t, `url http://127.0.0.1
		oidc {
			issuer ISSUER
			client_id registry
		}
		trusted_issuer ISSUER {
			audience registry.example.org
			user {claims.actor}
			groups artifact-workloads
		}`)
	token := forge.Sign(forgeJob(forge, map[string]any{"actor": "erich"}))
	pushes(r, http.StatusAccepted, "blumeops/app", "Bearer "+token)
	users := registrytest.Callers(t).Identity.Users()
	for _, name := range []string{"erich", "workload:erich"} {
		if known, ok := users.Get(name); ok {
			t.Errorf("a push has made the user %v", known)
		}
	}
	for _, authorization := range []string{"Bearer " + token, registrytest.Basic("erich", token)} {
		for _, path := range []string{"/", "/user/apikey"} {
			if _, body := r.Do("GET", path, nil, "Authorization",
				authorization); strings.Contains(string(body), "erich") {
				t.Errorf("%s knows the job: %s", path, body)
			}
		}
		response, _ := r.Do("POST", "/user/apikey", strings.NewReader("name=x"), "Authorization", authorization,
			"Content-Type", "application/x-www-form-urlencoded")
		if response.StatusCode == http.StatusOK || len(registrytest.Callers(t).Identity.Keys().List("")) > 0 {
			t.Errorf("a job has made a key: %d", response.StatusCode)
		}
	}
	// A person of the name is another, disabled or not.
	if _, err := users.SetDisabled(t.Context(), "erich", true); err != nil {
		t.Fatal(err)
	}
	pushes(r, http.StatusAccepted, "blumeops/app", "Bearer "+token)
	_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("x", token))
	exchanged := "Bearer " + registrytest.Token(t, body)
	if _, err := users.SetDisabled(t.Context(), "workload:erich", true); err != nil {
		t.Fatal(err)
	}
	for _, authorization := range []string{"Bearer " + token, exchanged} {
		pushes(r, http.StatusUnauthorized, "blumeops/app", authorization)
	}
}

func TestJobsAreTold(t *testing.T) {
	forge, port := oidctest.New(t, forgeAudience), registrytest.FreePort(t)
	registrytest.Load(t,
		strings.Replace(registrytest.Caddyfile(port, t.TempDir(),
			strings.ReplaceAll(trustForge, "ISSUER", forge.Issuer)+"\n"+registrytest.AllowAll, ""), "admin off",
			"admin off\n\tevents {\n\t\ton * oci_test\n\t}", 1))
	forgetHeard() // those of tests before
	r := registrytest.At(t, port)
	token := forge.Sign(forgeJob(forge, nil))
	putIndex(r, http.StatusCreated, "blumeops/app", "v1", emptyIndex, "Authorization", "Bearer "+token)
	wantHeard(t, "a push, and the first use of its token",
		[]string{"registry_login", "user:workload:forge", "credential:workload " + forge.Issuer},
		[]string{observe.EventPush, "user:workload:forge", "credential:workload " + forge.Issuer +
			" repo:blumeops/app:ref:refs/heads/main", "tag:v1"})
}

func TestBlocksThatAreRefused(t *testing.T) {
	for _, row := range []struct {
		name, block string
		wants       []string
	}{
		{"no audience", "trusted_issuer https://forge.example.org/api/actions {\n}",
			[]string{"Caddyfile:3", "trusted_issuer https://forge.example.org/api/actions", "audience is missing"}},
		{"no block", "trusted_issuer https://forge.example.org/api/actions",
			[]string{"Caddyfile:3", "audience is missing"}},
		{"no issuer", "trusted_issuer {\naudience a\n}", []string{"Caddyfile:3"}},
		{"an issuer that is not a URL", "trusted_issuer forge.example.org {\naudience a\n}",
			[]string{"Caddyfile:3", "is not like https://"}},
		{"an issuer whose answers others could change", "trusted_issuer http://forge.example.org {\naudience a\n}",
			[]string{"Caddyfile:3", "plain http is for loopback"}},
		{"GitHub for everybody", "trusted_issuer https://token.actions.githubusercontent.com {\naudience a\n}",
			[]string{"Caddyfile:3", "everybody can get a token"}},
		{"a claim without a pattern", "trusted_issuer https://a {\naudience a\nclaim ref\n}",
			[]string{"Caddyfile:5", "claim <name> <pattern>"}},
		{"a condition in pieces", "trusted_issuer https://a {\naudience a\ncondition claims.ref == a\n}",
			[]string{"Caddyfile:5", "backticks"}},
		{"a condition that is none", "trusted_issuer https://a {\naudience a\ncondition `claims.ref`\n}",
			[]string{"Caddyfile:3", "condition: "}},
		{"two conditions",
			"trusted_issuer https://a {\naudience a\ncondition `claims.a == 1`\ncondition `claims.b == 1`\n}",
			[]string{"Caddyfile:6", "duplicate option condition"}},
		{"an unknown option", "trusted_issuer https://a {\naudience a\nclient_id x\n}",
			[]string{"Caddyfile:5", "client_id"}},
		{"a group that the token chooses", "trusted_issuer https://a {\naudience a\ngroups {claims.groups}\n}",
			[]string{"Caddyfile:3", "could choose any"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\noci {\n"+row.block+"\n}\n}"),
				map[string]any{"filename": "Caddyfile"})
			for _, want := range row.wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
		})
	}
	// In JSON it is told by `validate`, with the line if somebody kept it.
	for config, want := range map[string]string{
		`{"module":"trusted_issuer","issuer":"https://a","line":"Caddyfile:7"}`: "Caddyfile:7: " +
			"trusted_issuer https://a: audience is missing",
		`{"module":"trusted_issuer","audience":["a"]}`: "is not like " +
			"https://",
		`{"module":"trusted_issuer","issuer":"https://a","audience":["a"],"claim":[{"name":""}]}`: "write a name and " +
			"a pattern",
	} {
		err := caddy.Validate(
			&caddy.Config{AppsRaw: caddy.ModuleMap{"oci": json.RawMessage(`{"authenticators":[` + config + `]}`)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", config, err, want)
		}
	}
}

// The blocks that docs/do/jobs-without-a-key.md has people paste are valid as they stand.
func TestTheBlocksOfTheDocumentation(t *testing.T) {
	_, block, _ := strings.Cut(registrytest.ReadFile(t, "../docs/do/jobs-without-a-key.md"), "```caddyfile oci\n")
	block, _, found := strings.Cut(block, "```")
	if !found || strings.Count(block, "trusted_issuer") != 2 {
		t.Fatalf("the page has no such block: %s", block)
	}
	text := fmt.Sprintf("{\nadmin off\noci {\nstorage file %s\nprivate blumeops/**\n%s}\n}\n", t.TempDir(), block)
	var config caddy.Config
	if err := json.Unmarshal(registrytest.Adapt(t, text), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
}
