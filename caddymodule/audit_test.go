package caddymodule_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core"
)

func init() { caddy.RegisterModule(listener{}) }

// listener is an event handler that remembers what this registry told.
type listener struct{}

var heard struct {
	sync.Mutex
	events []string
}

func (listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.oci_test", New: func() caddy.Module { return new(listener) }}
}

func (*listener) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*listener) Handle(_ context.Context, event caddy.Event) error {
	if !strings.HasPrefix(event.Name(), "registry_") {
		return nil
	}
	heard.Lock()
	defer heard.Unlock()
	heard.events = append(heard.events, fmt.Sprintf("%s %v", event.Name(), event.Data))
	return nil
}

var _ caddyevents.Handler = (*listener)(nil)

// forgetHeard leaves out what was heard until now.
func forgetHeard() {
	heard.Lock()
	defer heard.Unlock()
	heard.events = nil
}

// wantHeard takes the events that were told since the last call: each must have the
// words of its row.
func wantHeard(t *testing.T, what string, rows ...[]string) {
	t.Helper()
	heard.Lock()
	defer heard.Unlock()
	events := heard.events
	heard.events = nil
	if len(events) != len(rows) {
		t.Errorf("%s: heard %q, want %q", what, events, rows)
		return
	}
	for i, words := range rows {
		for _, word := range words {
			if !strings.Contains(events[i], word) {
				t.Errorf("%s: heard %s, want %s in it", what, events[i], word)
			}
		}
	}
}

func TestChangesAreTold(t *testing.T) {
	port, log := registrytest.FreePort(t), filepath.Join(t.TempDir(), "log")
	registrytest.Load(t, strings.Replace(registrytest.Caddyfile(port, t.TempDir(), `policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create
			allow group admins *
		}`, ""), "admin off", `admin off
	events {
		on * oci_test
	}
	log {
		output file `+log+`
		format json
	}`, 1))
	wantHeard(t, "a start")
	r := registrytest.At(t, port)
	keys := registrytest.Callers(t).Identity.Keys()
	secret, ci := registrytest.Key(t)
	wantHeard(t, "a key", []string{observe.EventKeyMade, ci.ID, "by:command", "user:zot-ci"})
	adminSecret, admin, err := keys.Create(t.Context(),
		identity.NewKey{User: "erich", Service: true, Groups: []string{"admins"}, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	wantHeard(t, "another", []string{observe.EventKeyMade, admin.ID})

	ciField, adminField := registrytest.Basic("zot-ci", secret), registrytest.Basic("erich", adminSecret)
	config := digest.FromString("{}")
	r.Want(http.StatusCreated, "POST", "/v2/team/app/blobs/uploads/?digest="+config.String(), strings.NewReader("{}"),
		"Authorization", ciField)
	put := func(status int, authorization, tag, text string) string {
		t.Helper()
		manifest := fmt.Sprintf(
			`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],`+
				`"annotations":{"a":%q}}`,
			ocispec.MediaTypeImageManifest, ocispec.MediaTypeEmptyJSON, config, text)
		r.Want(status, "PUT", "/v2/team/app/manifests/"+tag, strings.NewReader(manifest),
			"Content-Type", ocispec.MediaTypeImageManifest, "Authorization", authorization)
		return digest.FromString(manifest).String()
	}
	byCI := []string{"user:zot-ci", "credential:key " + ci.ID, "address:127.0.0.1", "repository:team/app"}
	byAdmin := []string{"user:erich", "credential:key " + admin.ID, "address:127.0.0.1", "repository:team/app"}
	and := func(by []string, words ...string) []string { return append(slices.Clone(by), words...) }

	// The upload was the first that the key was used for.
	wantHeard(t, "a login", []string{observe.EventLogin, "user:zot-ci", "credential:key " + ci.ID})
	one := put(http.StatusCreated, ciField, "v1", "one")
	wantHeard(t, "a push", and(byCI, observe.EventPush, "tag:v1", "digest:"+one))
	put(http.StatusCreated, ciField, "v1", "one")
	wantHeard(t, "the same", and(byCI, observe.EventPush, "digest:"+one, "digest_before:"+one))
	put(http.StatusForbidden, ciField, "v1", "two")
	wantHeard(t, "an overwrite by who may not", and(byCI, observe.EventDenied, "team/app:v1", one))
	two := put(http.StatusCreated, adminField, "v1", "two")
	wantHeard(t, "an overwrite", []string{observe.EventLogin, "user:erich"},
		and(byAdmin, observe.EventOverwrite, "tag:v1", "digest:"+two, "digest_before:"+one))
	// Bytes that do not say their type: another one makes another thing of all that names them.
	untyped := fmt.Sprintf(`{"config":{"mediaType":%q,"digest":%q,"size":2}}`, ocispec.MediaTypeEmptyJSON, config)
	asType := func(status int, authorization, mediaType string) {
		t.Helper()
		r.Want(status, "PUT", "/v2/team/app/manifests/"+digest.FromString(untyped).String(), strings.NewReader(untyped),
			"Content-Type", mediaType, "Authorization", authorization)
	}
	asType(http.StatusCreated, ciField, ocispec.MediaTypeImageManifest)
	wantHeard(t, "a push without a tag", and(byCI, observe.EventPush, "digest:"+digest.FromString(untyped).String()))
	asType(http.StatusForbidden, ciField, core.MediaTypeDockerManifest)
	wantHeard(t, "another type by who may not", and(byCI, observe.EventDenied, ocispec.MediaTypeImageManifest))
	asType(http.StatusCreated, adminField, core.MediaTypeDockerManifest)
	wantHeard(t, "another type",
		and(byAdmin, observe.EventOverwrite, "media_type:"+core.MediaTypeDockerManifest,
			"media_type_before:"+ocispec.MediaTypeImageManifest))
	r.Want(http.StatusForbidden, "DELETE", "/v2/team/app/manifests/v1", nil, "Authorization", ciField)
	wantHeard(t, "a deletion by who may not", and(byCI, observe.EventDenied, "action:delete_manifest"))
	r.Want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/v1", nil, "Authorization", adminField)
	wantHeard(t, "a tag's deletion", and(byAdmin, observe.EventDelete, "tag:v1", "digest_before:"+two))
	for _, tag := range []string{"v2", "v3"} {
		put(http.StatusCreated, ciField, tag, "one")
		wantHeard(t, "another tag", and(byCI, observe.EventPush, "tag:"+tag, "digest_before: "))
	}
	r.Want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/"+one, nil, "Authorization", adminField)
	wantHeard(t, "a manifest's deletion",
		and(byAdmin, observe.EventDelete, "kind:manifest", "tags:[v2 v3]", "digest_before:"+one))

	// A write by nobody in particular is denied, too: who it was says the address.
	r.Want(http.StatusUnauthorized, "POST", "/v2/team/app/blobs/uploads/", nil)
	wantHeard(t, "a write without a login",
		[]string{observe.EventDenied, "user:]", "address:127.0.0.1", "repository:team/app", "action:start_upload",
			"status:401"})
	r.Want(http.StatusUnauthorized, "DELETE", "/v2/team/app/manifests/v1", nil,
		"Authorization", registrytest.Basic("zot-ci", "wrong"))
	wantHeard(t, "a write with a wrong password",
		[]string{observe.EventLoginRefused, "user:zot-ci", "reason:wrong", "action:delete_manifest",
			"repository:team/app"})
	for range observe.StrangerRecords + 40 {
		r.Want(http.StatusUnauthorized, "POST", "/v2/team/app/blobs/uploads/", nil)
	}
	heard.Lock()
	if n := len(heard.events); n > observe.StrangerRecords {
		t.Errorf("a flood was recorded %d times", n)
	}
	heard.events = nil
	heard.Unlock()

	// A pull is not audited, and neither is a login for one.
	r.Want(http.StatusOK, "GET", "/token?scope=repository:team/app:pull", nil, "Authorization", ciField)
	r.Want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", registrytest.Basic("zot-ci", "wrong"))
	wantHeard(t, "two logins", []string{observe.EventLoginRefused, "user:zot-ci", "reason:wrong", "at:/token"})
	for metric, want := range map[string]float64{
		`registry_api_keys{state="valid"}`:               2,
		"registry_api_key_next_expiry_timestamp_seconds": float64(min(ci.Expires.Unix(), admin.Expires.Unix())),
	} {
		if got := r.Metric(metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	for _, metric := range []string{`registry_logins_total{method="api_key",result="ok"}`,
		`registry_logins_total{method="unknown",result="refused"}`} {
		if r.Metric(metric) < 1 {
			t.Errorf("%s was not counted", metric)
		}
	}
	for range 2 { // the second changes nothing
		if _, err := keys.Revoke(identity.As(t.Context(), "erich"), ci.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantHeard(t, "a revoked key", []string{observe.EventKeyRevoked, ci.ID, "by:erich"})

	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{`"logger":"oci.audit"`, observe.EventOverwrite, `"digest_before":"` + one + `"`,
		`"credential":"key ` + admin.ID + `"`} {
		if !strings.Contains(string(text), word) {
			t.Errorf("the log does not say %s", word)
		}
	}
	if strings.Contains(string(text), secret) || strings.Contains(string(text), adminSecret) {
		t.Error("a secret is in the log")
	}
}
