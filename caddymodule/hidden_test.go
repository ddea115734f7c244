package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// A caller cannot tell what an upstream hides from what the policy does: status,
// fields and words are the same, whatever is asked, and for nobody and somebody.
func TestWhatIsHiddenAnswersAsWhatMayNotBeRead(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	manifest, blob := registrytest.PutImage(t, hub, "team/hidden", "v1", registrytest.RandomBytes(1000))
	hub.Private("team/hidden")
	t.Setenv("TEST_HUB_SECRET", "secret")
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), "policy {\nallow anonymous read fetch\n"+
		"deny anonymous read on docker.io/team/denied\ndeny signed_in read on docker.io/team/denied\n}\n"+
		registrytest.Mirror("docker.io", hub, "credentials user {env.TEST_HUB_SECRET}",
			"private team/** to user somebody-else"), "")
	secret, _ := registrytest.Key(t)
	r := registrytest.At(t, port)
	r.Want(http.StatusUnauthorized, "GET", "/v2/docker.io/team/hidden/manifests/v1", nil) // the upstream was asked
	for who, fields := range map[string][]string{"nobody": nil,
		"somebody": {"Authorization", registrytest.Basic("x", secret)}} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, path := range []string{
				"manifests/v1", "manifests/none", "manifests/" + manifest.String(),
				"manifests/" + digest.FromString("none").String(),
				"blobs/" + blob.String(), "blobs/" + digest.FromString("none").String(),
				"tags/list", "referrers/" + manifest.String(),
			} {
				ask := func(repo string) (int, string) {
					response, body := r.Do(method, "/v2/docker.io/team/"+repo+"/"+path, nil, fields...)
					response.Header.Del("Date")
					response.Header.Del("Content-Length") // of the same words, with the name in them
					var text strings.Builder
					if err := response.Header.Write(&text); err != nil {
						t.Fatal(err)
					}
					return response.StatusCode, strings.ReplaceAll(text.String()+string(body), repo, "REPO")
				}
				status, hidden := ask("hidden")
				want, denied := ask("denied")
				if status != want || hidden != denied {
					t.Errorf("%s, %s %s: got\n%d\n%s\nwant, as for what may not be read,\n%d\n%s", who, method, path,
						status, hidden, want, denied)
				}
			}
		}
	}
}
