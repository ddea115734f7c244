package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// apiPolicy lets everybody see what is public.
const apiPolicy = `policy {
			allow anonymous read fetch on public/** docker.io/**
			allow group artifact-workloads read create delete on team/**
			deny user zot-ci delete on secret/** team/kept
			allow group admins *
		}
`

// whole waits until the registry has described what it holds.
func whole(r *registrytest.Registry, fields ...string) {
	r.Helper()
	r.Eventually("the registry knows what it holds", func() bool {
		_, body := r.Want(http.StatusOK, "GET", "/api/state", nil, fields...)
		return strings.Contains(string(body), `"whole":true`)
	})
}

// apiNames asks for a list and returns the names of its repositories.
func apiNames(r *registrytest.Registry, path string, fields ...string) (names []string) {
	r.Helper()
	var list api.List
	_, body := r.Want(http.StatusOK, "GET", path, nil, fields...)
	if err := json.Unmarshal(body, &list); err != nil {
		r.Fatalf("GET %s: %v: %s", path, err, body)
	}
	for _, repo := range list.Repositories {
		names = append(names, repo.Name)
	}
	return names
}

func wantNames(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", who, got, want)
	}
}

func TestImagesAsJSON(t *testing.T) {
	t.Cleanup(drainHeard) // the next test hears only its own events
	port := registrytest.FreePort(t)
	registrytest.Load(t, strings.Replace(registrytest.Caddyfile(port, t.TempDir(),
		apiPolicy+"local_user erich "+registrytest.PasswordHash()+" admins", ""), "admin off", `admin off
	events {
		on * oci_test
	}`, 1))
	r := registrytest.At(t, port)
	secret, key := registrytest.Key(t)
	admin, _, err := registrytest.Callers(t).Identity.Keys().Create(t.Context(),
		identity.NewKey{User: "erich", Service: true, Groups: []string{"admins"}, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	byKey, byAdmin := []string{"Authorization", "Bearer " + secret}, []string{"Authorization", registrytest.Basic("x", admin)}
	for _, repo := range []string{"public/app", "team/app", "team/kept", "secret/app"} {
		for _, blob := range []string{"{}", "layer of " + repo} {
			r.Want(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+digestOf(blob), strings.NewReader(blob), byAdmin...)
		}
		for _, tag := range []string{"v1", "v2"} {
			r.Want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, strings.NewReader(manifestOf("{}", "layer of "+repo)),
				append(byAdmin, "Content-Type", "application/vnd.oci.image.manifest.v1+json")...)
		}
	}
	whole(r)
	drainHeard()

	wantNames(t, "anonymous", apiNames(r, "/api/images"), "public/app")
	wantNames(t, "a key", apiNames(r, "/api/images", byKey...), "public/app", "team/app", "team/kept")
	wantNames(t, "an admin", apiNames(r, "/api/images", byAdmin...), "public/app", "secret/app", "team/app", "team/kept")
	wantHeard(t, "a key at the API, and one that was seen before", []string{observe.EventLogin, "at:/api/", "user:zot-ci"})
	_, body := r.Want(http.StatusOK, "GET", "/token", nil, "Authorization", registrytest.Basic("erich", registrytest.Password))
	wantNames(t, "a token", apiNames(r, "/api/images?q=secret", "Authorization", "Bearer "+registrytest.Token(t, body)), "secret/app")
	drainHeard()

	// As below /v2/, a name that may not be read is not told from one that is not there.
	response, _ := r.Want(http.StatusUnauthorized, "GET", "/api/images/team/app", nil)
	if got := response.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") {
		t.Errorf("got WWW-Authenticate %q", got)
	}
	r.Want(http.StatusUnauthorized, "GET", "/api/images/none", nil)
	r.Want(http.StatusNotFound, "GET", "/api/images/secret/app", nil, byKey...)
	r.Want(http.StatusNotFound, "GET", "/api/images/none", nil, byKey...)
	response, _ = r.Want(http.StatusUnauthorized, "GET", "/api/images", nil, "Authorization", "Bearer wrong")
	if got := response.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("a wrong token: got WWW-Authenticate %q", got)
	}
	wantHeard(t, "a wrong credential", []string{observe.EventLoginRefused, "at:/api/"})
	r.Want(http.StatusOK, "HEAD", "/api/images/public/app", nil)
	r.Want(http.StatusMethodNotAllowed, "POST", "/api/images/public/app", strings.NewReader("x"))
	r.Want(http.StatusNotFound, "GET", "/api/nothing", nil)

	// Rights come with the rule that decides, for those who signed in.
	rights := func(repo string, fields ...string) string {
		var answer api.RepositoryAnswer
		_, body := r.Want(http.StatusOK, "GET", "/api/images/"+repo, nil, fields...)
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, right := range answer.Rights {
			word := right.Action
			if !right.Allowed {
				word = "-" + word
			}
			if right.Rule != "" {
				word += " (" + right.Rule + ")"
			}
			if (right.Rule != "") != strings.HasPrefix(right.Line, "Caddyfile:") {
				t.Errorf("%s: got the line %q", word, right.Line)
			}
			text = append(text, word)
		}
		return strings.Join(text, "; ")
	}
	if got, want := rights("public/app"), "read; -create; -update; -delete"; got != want {
		t.Errorf("anonymous: got %s, want %s", got, want)
	}
	const allowed, refused = "allow group artifact-workloads read create delete on team/**", "deny user zot-ci delete on team/kept"
	if got, want := rights("team/kept", byKey...), "read ("+allowed+"); create ("+allowed+"); -update; -delete ("+refused+")"; got != want {
		t.Errorf("a key: got %s, want %s", got, want)
	}

	// Deletions are those of the protocol: the policy decides, and the audit has them.
	r.Want(http.StatusForbidden, "DELETE", "/api/images/team/kept:v1", nil, byKey...)
	wantHeard(t, "a refused deletion", []string{observe.EventDenied, "repository:team/kept", "user:zot-ci", "action:delete_manifest", "status:403"})
	r.Want(http.StatusUnauthorized, "DELETE", "/api/images/public/app:v1", nil)
	wantHeard(t, "a stranger's deletion", []string{observe.EventDenied, "repository:public/app", "status:401"})
	r.Want(http.StatusNotFound, "DELETE", "/api/images/secret/app:v1", nil, byKey...)
	wantHeard(t, "a deletion of something hidden", []string{observe.EventDenied, "repository:secret/app", "status:404"})
	_, body = r.Want(http.StatusOK, "DELETE", "/api/images/team/app:v1", nil, byKey...)
	if want := `{"deleted":{"repository":"team/app","digest":"` + digestOf(manifestOf("{}", "layer of team/app")) + `","manifest":false,"tags":["v1"]}}`; strings.TrimSpace(string(body)) != want {
		t.Errorf("got %s, want %s", body, want)
	}
	wantHeard(t, "a deleted tag", []string{observe.EventDelete, "kind:tag", "tag:v1", "repository:team/app", "user:zot-ci", "key " + key.ID})
	r.Want(http.StatusNotFound, "GET", "/v2/team/app/manifests/v1", nil, byKey...)
	r.Want(http.StatusOK, "DELETE", "/api/images/team/app@"+digestOf(manifestOf("{}", "layer of team/app")), nil, byKey...)
	wantHeard(t, "a deleted image", []string{observe.EventDelete, "kind:manifest", "tags:[v2]", "repository:team/app"})
	wantNames(t, "a key, after its deletions", apiNames(r, "/api/images?in=team", byKey...), "team/kept")

	// A browser that is signed in has its session, and other sites do not.
	v := visit(t, port, nil)
	v.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	asked := func(method, path string, fields ...string) int {
		request, err := http.NewRequest(method, r.Base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			request.Header.Set(fields[i], fields[i+1])
		}
		response, err := v.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for _, row := range []struct {
		method, path string
		fields       []string
		want         int
	}{
		{"GET", "/api/images/secret/app", nil, http.StatusOK},
		{"GET", "/api/images/secret/app", []string{"Authorization", "Bearer " + secret}, http.StatusNotFound}, // not the cookie
		{"GET", "/api/images/secret/app", []string{"X-Forwarded-For", "192.0.2.1"}, http.StatusUnauthorized},  // others could read it
		{"GET", "/api/images/public/app", []string{"X-Forwarded-For", "192.0.2.1"}, http.StatusOK},            // as anonymous
		{"GET", "/api/images", []string{"X-Forwarded-For", "192.0.2.1", "Authorization", "Bearer " + secret}, http.StatusUnauthorized},
		{"DELETE", "/api/images/secret/app:v1", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"DELETE", "/api/images/secret/app:v1", []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"DELETE", "/api/images/secret/app:v1", []string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
	} {
		if got := asked(row.method, row.path, row.fields...); got != row.want {
			t.Errorf("%s %s with %q: got status %d, want %d", row.method, row.path, row.fields, got, row.want)
		}
	}
}

// The API is on sites for reading, without deletions and credentials, and leaves a site's own
// handlers their paths.
func TestImagesAsJSONOnOtherSites(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t, registrytest.CaddyfileWith(port, t.TempDir(), registrytest.AllowAll, "read_only"))
	r := registrytest.At(t, port)
	wantNames(t, "a site for reading", apiNames(r, "/api/images"))
	response, _ := r.Want(http.StatusMethodNotAllowed, "DELETE", "/api/images/team/app:v1", nil)
	if got := response.Header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("got Allow %q", got)
	}
	secret, _ := registrytest.Key(t)
	r.Want(http.StatusUnauthorized, "GET", "/api/images", nil, "Authorization", "Bearer "+secret)

	registrytest.Load(t, registrytest.Caddyfile(port, t.TempDir(), registrytest.AllowAll, "respond /api/images mine"))
	if _, body := r.Want(http.StatusOK, "GET", "/api/images", nil); string(body) != "mine" {
		t.Errorf("got %s, want the site's own answer", body)
	}
	r.Want(http.StatusOK, "GET", "/api/state", nil)
}

// Looking at a mirror asks nobody, and neither counts as a pull nor keeps anything.
func TestLookingAtAMirrorAsksNobody(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Config{})
	image, layer := registrytest.PutImage(t, u, "library/nginx", "latest", registrytest.RandomBytes(1000))
	port := registrytest.FreePort(t)
	registrytest.Load(t, registrytest.Caddyfile(port, t.TempDir(), apiPolicy+registrytest.Mirror("docker.io", u), ""))
	r := registrytest.At(t, port)
	const repo = "docker.io/library/nginx"
	r.Want(http.StatusOK, "GET", "/v2/"+repo+"/manifests/latest", nil)
	r.Want(http.StatusOK, "GET", "/v2/"+repo+"/blobs/"+string(layer), nil)
	whole(r)
	r.Eventually("the image is held", func() bool {
		var answer api.ImageAnswer
		_, body := r.Do("GET", "/api/images/"+repo+":latest", nil)
		return json.Unmarshal(body, &answer) == nil && len(answer.Names) == 2 && answer.Names[1].Held
	})
	u.Forget()
	var first api.ImageAnswer
	for i := range 20 {
		for _, path := range []string{
			"/api/images?kind=mirror", "/api/images?q=nginx", "/api/images?q=:latest", "/api/images?q=" + string(image)[:20],
			"/api/images/" + repo, "/api/images/" + repo + "/-/tags", "/api/images/" + repo + "/-/images",
			"/api/images/" + repo + ":latest/-/history", "/api/images/" + repo + "@" + string(image), "/api/images/" + repo + "@" + string(layer) + "/-/users",
		} {
			r.Want(http.StatusOK, "GET", path, nil)
		}
		var answer api.ImageAnswer
		_, body := r.Want(http.StatusOK, "GET", "/api/images/"+repo+":latest", nil)
		if err := json.Unmarshal(body, &answer); err != nil || answer.Image == nil {
			t.Fatalf("%v: got %s", err, body)
		}
		if i == 0 {
			first = answer
		}
		if answer.Image.Pulls.N > 1 || answer.Tag.Pulls.N > 1 {
			t.Fatalf("looking counts as %d pulls, of the tag %d", answer.Image.Pulls.N, answer.Tag.Pulls.N)
		}
	}
	r.Want(http.StatusUnauthorized, "GET", "/api/images/"+repo+":other", nil, "Authorization", "Bearer wrong")
	r.Want(http.StatusNotFound, "GET", "/api/images/"+repo+":other", nil)
	r.Want(http.StatusNotFound, "GET", "/api/images/docker.io/library/other", nil)
	if got := u.Requests(); len(got) > 0 {
		t.Errorf("the upstream was asked: %q", got)
	}
	if first.Tag == nil || first.Image.Digest != image || len(first.Names) != 2 || !first.Names[1].Held {
		t.Errorf("got %+v", first)
	}
}

func digestOf(content string) string { return string(digest.FromString(content)) }

// manifestOf returns the manifest of an image with a config and a layer.
func manifestOf(config, layer string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeEmptyJSON, digestOf(config), len(config),
		ocispec.MediaTypeImageLayer, digestOf(layer), len(layer))
}

// drainHeard forgets the events that were told.
func drainHeard() {
	heard.Lock()
	defer heard.Unlock()
	heard.events = nil
}
