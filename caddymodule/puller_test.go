package caddymodule_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Those who are signed in see who pulled an image last, of private images and of mirrors, on pages and
// in the API. An anonymous pull has no name, and anonymous callers see none.
func TestTheLastPullIsNamedForThoseWhoAreSignedIn(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	registrytest.PutImage(t, hub, "library/nginx", "latest", []byte("layer"))
	registrytest.PutImage(t, hub, "library/redis", "latest", []byte("another layer"))
	port, directory := registrytest.FreePort(t), t.TempDir()
	config := registrytest.CaddyfileWith(port, directory, "local_user erich "+registrytest.PasswordHash()+" admins\n"+
		"policy {\nallow anonymous read create fetch\nallow group admins *\n}\n"+registrytest.Mirror("docker.io", hub), "")
	registrytest.Load(t, config)
	r := registrytest.At(t, port)
	r.PushImage("team/app", "v1", []byte("one"))
	r.PushImage("team/app", "v2", []byte("two"))
	bearer := "Bearer " + signedIn(t, port, "erich").makeKey()
	for _, image := range []string{"team/app/manifests/v1", "docker.io/library/nginx/manifests/latest"} {
		r.Want(http.StatusOK, "GET", "/v2/"+image, nil)
		r.Want(http.StatusOK, "GET", "/v2/"+image, nil, "Authorization", bearer)
	}
	for _, image := range []string{"team/app/manifests/v2", "docker.io/library/redis/manifests/latest"} {
		r.Want(http.StatusOK, "GET", "/v2/"+image, nil, "Authorization", bearer)
		r.Want(http.StatusOK, "GET", "/v2/"+image, nil)
	}
	if err := caddy.Stop(); err != nil { // then everything is in the index
		t.Fatal(err)
	}
	registrytest.Load(t, config)
	admin, visitor := signedIn(t, port, "erich"), visit(t, port, nil)
	pulled := regexp.MustCompile(`(?s)<dt>Last pull</dt><dd><time[^>]*>[^<]*</time>( by [^<]*(<bdi>)?erich)?`)
	for image, named := range map[string]bool{
		"team/app:v1": true, "team/app:v2": false,
		"docker.io/library/nginx:latest": true, "docker.io/library/redis:latest": false,
	} {
		_, body := admin.page(http.StatusOK, "/images/"+image, nil)
		if found := pulled.FindStringSubmatch(body); found == nil || (found[1] != "") != named {
			t.Errorf("%s: got %q, want the name: %t", image, found, named)
		}
		repo, tag, _ := strings.Cut(image, ":")
		_, body = admin.page(http.StatusOK, "/images/"+repo+"/-/delete?tag="+tag, nil)
		if got := strings.Count(body, `<span class="dim">by `); got != map[bool]int{true: 2}[named] {
			t.Errorf("%s: the review of a deletion names who pulled last %d times, want the name: %t", image, got, named)
		}
		if _, body = visitor.page(http.StatusOK, "/images/"+image, nil); strings.Contains(body, "erich") {
			t.Errorf("%s: a visitor sees who pulled last", image)
		}
		if _, data := r.Want(http.StatusOK, "GET", "/api/images/"+image, nil); strings.Contains(string(data), "erich") {
			t.Errorf("%s: a visitor sees who pulled last in the API: %s", image, data)
		}
		_, data := r.Want(http.StatusOK, "GET", "/api/images/"+image, nil, "Authorization", bearer)
		if got := strings.Count(string(data), `"by":"erich"`); got != map[bool]int{true: 2}[named] {
			t.Errorf("%s: got %s, want the name: %t", image, data, named)
		}
	}
}
