package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestAMirrorIsServedInEveryForm(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	content := registrytest.RandomBytes(50_000)
	want, blob := registrytest.PutImage(t, hub, "library/nginx", "latest", content)
	storage := t.TempDir()
	for _, row := range []struct {
		name, options string
		names         []string // with a query
	}{
		{"any site", "",
			[]string{"docker.io/library/nginx", "docker.io/nginx", "library/nginx?ns=docker.io", "nginx?ns=docker.io",
				"docker.io/library/nginx?ns=docker.io", "docker.io/nginx?ns=registry.example.com"}},
		{"a site with a fallback", "fallback docker.io",
			[]string{"library/nginx", "nginx", "docker.io/nginx", "library/nginx?ns=docker.io",
				"library/nginx?ns=registry.example.com"}},
		{"a site for one upstream", "upstream docker.io",
			[]string{"library/nginx", "nginx", "docker.io/nginx", "library/nginx?ns=docker.io"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			registrytest.Load(t,
				registrytest.CaddyfileWith(port, storage, registrytest.AllowAll+
					"\nurl https://registry.example.com\nprivate team/**\n"+
					registrytest.Mirror("docker.io", hub), row.options))
			r := registrytest.At(t, port)
			for _, name := range row.names {
				name, query, asked := strings.Cut(name, "?")
				response, _ := r.Want(http.StatusOK, "GET", "/v2/"+name+"/manifests/latest?"+query, nil)
				if got := response.Header.Get("Docker-Content-Digest"); got != want.String() {
					t.Errorf("%s?%s: got digest %s, want %s", name, query, got, want)
				}
				if got := response.Header.Get("Oci-Namespace"); asked && "ns="+got != query {
					t.Errorf("%s?%s: got namespace %q", name, query, got)
				}
				if _, got := r.Want(http.StatusOK, "GET", "/v2/"+name+"/blobs/"+blob.String()+"?"+query,
					nil); !bytes.Equal(got, content) {
					t.Errorf("%s?%s: got other bytes than the upstream has", name, query)
				}
				r.Want(http.StatusOK, "GET", "/v2/"+name+"/tags/list?"+query, nil)
			}
		})
	}
	gets := 0
	for _, line := range hub.Requests() {
		if strings.HasPrefix(line, "registry GET ") && strings.HasSuffix(line, " bearer") &&
			!strings.Contains(line, "/tags/list") {
			gets++
		}
	}
	if gets != 2 {
		t.Errorf("got %d, want one GET of the manifest and one of the blob for all forms:\n%s", gets,
			strings.Join(hub.Requests(), "\n"))
	}
}

func TestMirrorsAndPrivateNamesKeepApart(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{})
	content := registrytest.RandomBytes(1000)
	_, blob := registrytest.PutImage(t, hub, "library/nginx", "latest", content)
	registrytest.PutImage(t, hub, "team/app", "theirs", content)
	port := registrytest.FreePort(t)
	registrytest.Load(t,
		registrytest.CaddyfileWith(port, t.TempDir(), registrytest.AllowAll+"\nprivate team/**\n"+
			registrytest.Mirror("docker.io", hub), "fallback docker.io"))
	r := registrytest.At(t, port)
	r.PushImage("team/app", "v1", registrytest.RandomBytes(100))
	r.Want(http.StatusOK, "GET", "/v2/nginx/manifests/latest", nil)
	r.Want(http.StatusOK, "GET", "/v2/nginx/blobs/"+blob.String(), nil)
	hub.Forget()

	// A private name is never asked upstream, and the upstream's bytes are not mounted.
	r.Want(http.StatusNotFound, "GET", "/v2/team/app/manifests/theirs", nil)
	r.Want(http.StatusNotFound, "GET", "/v2/team/app/blobs/"+blob.String(), nil)
	r.Want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/?mount="+blob.String()+
		"&from=docker.io/library/nginx", nil)
	r.Want(http.StatusAccepted, "POST", "/v2/team/app/blobs/uploads/?mount="+blob.String(), nil)
	if got := hub.Requests(); len(got) != 0 {
		t.Errorf("the upstream was asked: %q", got)
	}
	for _, push := range []string{"docker.io/library/nginx", "nginx", "other/app"} {
		_, body := r.Want(http.StatusForbidden, "POST", "/v2/"+push+"/blobs/uploads/", nil)
		for _, want := range []string{"DENIED", "docker.io is a pull-through cache", "team/**"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("push to %s: got %s, want it to say %s", push, body, want)
			}
		}
	}
	_, body := r.Want(http.StatusOK, "GET", "/v2/_catalog", nil)
	if want := `{"repositories":["docker.io/library/nginx","team/app"]}`; strings.TrimSpace(string(body)) != want {
		t.Errorf("got catalog %s, want %s", body, want)
	}
	_, body = r.Want(http.StatusNotFound, "GET", "/v2/library/nginx/manifests/latest?ns=quay.io", nil)
	if !bytes.Contains(body, []byte("NAME_UNKNOWN")) {
		t.Errorf("got %s, want NAME_UNKNOWN", body)
	}
	for name, least := range map[string]float64{
		`registry_mirror_requests_total{mirror="docker.io",operation="manifest",result="ok"}`: 1,
		`registry_mirror_upstream_total{mirror="docker.io",operation="blob",result="ok"}`:     1,
		`registry_mirror_fetched_bytes_total{mirror="docker.io"}`:                             1000,
	} {
		if got := r.Metric(name); got < least {
			t.Errorf("got %s %v, want at least %v", name, got, least)
		}
	}
}

func TestAMirrorServesWhatItIsAllowedTo(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{})
	for _, repo := range []string{"library/nginx", "library/redis", "other/app"} {
		registrytest.PutImage(t, hub, repo, "v1", registrytest.RandomBytes(10))
	}
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(),
		registrytest.Mirror("docker.io", hub, "allow library/**", "deny docker.io/library/redis"), "")
	for name, status := range map[string]int{
		"docker.io/nginx":            http.StatusOK,
		"docker.io/redis":            http.StatusForbidden,
		"library/redis?ns=docker.io": http.StatusForbidden,
		"docker.io/other/app":        http.StatusForbidden,
	} {
		name, query, _ := strings.Cut(name, "?")
		r.Want(status, "GET", "/v2/"+name+"/manifests/v1?"+query, nil)
	}
}

// A download belongs to the process and not to a configuration.
func TestAReloadKeepsADownload(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{})
	content := registrytest.RandomBytes(1 << 20)
	_, blob := registrytest.PutImage(t, hub, "library/nginx", "latest", content)
	fault := hub.Fault(upstreamtest.Fault{Path: "/blobs/" + blob.String(), After: 1 << 19, Stall: true, Times: 1})
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.Mirror("docker.io", hub), "")
	pull := func() *http.Response {
		response, err := http.Get(r.Base + "/v2/docker.io/nginx/blobs/" + blob.String())
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	first := pull()
	defer first.Body.Close()
	// The last byte that has arrived may be kept back until the digest is known.
	begun := slowly(t, first.Body, 1<<19-1<<16)

	registrytest.Serve(t, port, storage, registrytest.Mirror("docker.io", hub, "ttl 1h"), "header X-New yes")
	second := pull()
	defer second.Body.Close()
	again := slowly(t, second.Body, 1<<18)
	fault.Lift()
	for i, body := range []io.Reader{io.MultiReader(bytes.NewReader(begun), first.Body),
		io.MultiReader(bytes.NewReader(again), second.Body)} {
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) {
			t.Errorf("pull %d: got %d bytes and %v, want the blob", i+1, len(got), err)
		}
	}
	var gets []string
	for _, line := range hub.Requests() {
		if strings.Contains(line, "GET") && strings.Contains(line, blob.String()) {
			gets = append(gets, line)
		}
	}
	if len(gets) != 1 {
		t.Errorf("got %q, want one download", gets)
	}
}

// Checked and held content is served while the upstream does not answer, after a restart
// too.
func TestAMirrorStartsAndServesWithoutItsUpstream(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{})
	content := registrytest.RandomBytes(1000)
	want, blob := registrytest.PutImage(t, hub, "library/nginx", "latest", content)
	storage, port := t.TempDir(), registrytest.FreePort(t)
	r := registrytest.Serve(t, port, storage, registrytest.Mirror("docker.io", hub), "")
	r.Want(http.StatusOK, "GET", "/v2/docker.io/nginx/manifests/latest", nil)
	r.Want(http.StatusOK, "GET", "/v2/docker.io/nginx/blobs/"+blob.String(), nil)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	// The storage closes when the last request has returned, which Stop does not wait for.
	r.Eventually("the storage is closed", func() bool {
		opened, err := dir.Open(storage, dir.Config{})
		return err == nil && opened.Close() == nil
	})
	gone := fmt.Sprintf("mirror docker.io {\nupstream http://127.0.0.1:%d\nttl 1ns\n}", registrytest.FreePort(t))
	registrytest.Serve(t, port, storage, gone, "")
	response, _ := r.Want(http.StatusOK, "GET", "/v2/docker.io/nginx/manifests/latest", nil)
	if got := response.Header.Get("Docker-Content-Digest"); got != want.String() {
		t.Errorf("got digest %s, want %s", got, want)
	}
	r.Want(http.StatusOK, "GET", "/v2/docker.io/nginx/blobs/"+blob.String(), nil)
	r.Want(http.StatusBadGateway, "GET", "/v2/docker.io/redis/manifests/latest", nil)
}

func TestSecretsOfAMirror(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Basic})
	registrytest.PutImage(t, hub, "team/app", "v1", registrytest.RandomBytes(10))
	secret := filepath.Join(t.TempDir(), "secret")
	text := registrytest.Caddyfile(registrytest.FreePort(t), t.TempDir(),
		registrytest.AllowAll+"\n"+registrytest.Mirror("hub.test", hub,
			"credentials {env.TEST_HUB_USER} {file."+secret+"}"), "")
	config := registrytest.Adapt(t, text)
	if err := registrytest.Validate(t, string(config)); err != nil {
		t.Errorf("validate wants the secrets: %v", err)
	}
	err := registrytest.TryLoad(t, config)
	if err == nil || !strings.Contains(err.Error(), "mirror hub.test: credentials") {
		t.Errorf("got %v, want the option's name", err)
	}
	t.Setenv("TEST_HUB_USER", "user")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll+"\n"+
		registrytest.Mirror("hub.test", hub, "credentials {env.TEST_HUB_USER} {file."+secret+"}",
			"private team/** to anonymous"), "")
	r.Do("GET", "/v2/hub.test/team/app/manifests/v1", nil)
	if !slices.ContainsFunc(hub.Recorded(), func(r upstreamtest.Request) bool { return r.Auth == "basic" }) {
		t.Errorf("the credentials were not used: %q", hub.Requests())
	}
	var now bytes.Buffer
	if app, err := caddy.ActiveContext().AppIfConfigured("oci"); err != nil {
		t.Fatal(err)
	} else if err := json.NewEncoder(&now).Encode(app); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(now.Bytes(), []byte("{env.TEST_HUB_USER}")) ||
		bytes.Contains(now.Bytes(), []byte(`"secret":"secret`)) {
		t.Errorf("got %s, want placeholders", now.Bytes())
	}
}

func TestWhatAnUpstreamHidesIsShownToThoseNamed(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	_, blob := registrytest.PutImage(t, hub, "team/app", "v1", registrytest.RandomBytes(1000))
	_, other := registrytest.PutImage(t, hub, "other/app", "v1", registrytest.RandomBytes(1000))
	hub.Private("team/app")
	hub.Private("other/app")
	t.Setenv("TEST_HUB_SECRET", "secret")
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), "policy {\nallow anonymous read fetch\n}\n"+
		registrytest.Mirror("docker.io", hub, "credentials user {env.TEST_HUB_SECRET}",
			"private team/** to group artifact-workloads"), "")
	secret, _ := registrytest.Key(t)
	r := registrytest.At(t, port)
	for _, row := range []struct {
		name, path string
		status     int
		fields     []string
	}{
		// Twice: what is held hides as well as what is not.
		{"an anonymous caller", "team/app/manifests/v1", http.StatusUnauthorized, nil},
		{"a member", "team/app/manifests/v1", http.StatusOK,
			[]string{"Authorization", registrytest.Basic("x", secret)}},
		{"a member", "team/app/blobs/" + blob.String(), http.StatusOK,
			[]string{"Authorization", registrytest.Basic("x", secret)}},
		{"a member", "team/app/tags/list", http.StatusOK, []string{"Authorization", registrytest.Basic("x", secret)}},
		{"an anonymous caller, now that it is held", "team/app/manifests/v1", http.StatusUnauthorized, nil},
		{"an anonymous caller, now that it is held", "team/app/blobs/" + blob.String(), http.StatusUnauthorized, nil},
		{"an anonymous caller, now that it is held", "team/app/tags/list", http.StatusUnauthorized, nil},
		{"a member, of what is for nobody", "other/app/manifests/v1", http.StatusNotFound,
			[]string{"Authorization", registrytest.Basic("x", secret)}},
		{"a member, of what is for nobody", "other/app/blobs/" + other.String(), http.StatusNotFound,
			[]string{"Authorization", registrytest.Basic("x", secret)}},
	} {
		if response, body := r.Do("GET", "/v2/docker.io/"+row.path, nil,
			row.fields...); response.StatusCode != row.status {
			t.Errorf("%s, %s: got status %d, want %d: %s", row.name, row.path, response.StatusCode, row.status, body)
		}
	}
	for who, fields := range map[string][]string{"": nil,
		"a member": {"Authorization", registrytest.Basic("x", secret)}} {
		_, catalog := r.Want(http.StatusOK, "GET", "/v2/_catalog", nil, fields...)
		if got := bytes.Contains(catalog, []byte("docker.io/team/app")); got != (who != "") {
			t.Errorf("%q: the catalog is %s", who, catalog)
		}
	}
}

func TestMirrorCaddyfileRefuses(t *testing.T) {
	for _, row := range []struct {
		name, options string
		want          []string
	}{
		{"an unknown option", "mirror docker.io {\nspeed 1\n}", []string{":4", "speed"}},
		{"no name", "mirror", []string{":3"}},
		{"two names", "mirror docker.io ghcr.io", []string{":3"}},
		{"a duplicate mirror", "mirror docker.io\nmirror docker.io", []string{":4", "duplicate mirror docker.io"}},
		{"a time that is none", "mirror docker.io {\nttl soon\n}", []string{":4", "ttl", "soon"}},
		{"no time at all", "mirror docker.io {\nmax_stale 0s\n}", []string{":4", "max_stale"}},
		{"another word for gone", "mirror docker.io {\ngone keep\n}", []string{":4", "gone", "serve or drop"}},
		{"no connections", "mirror docker.io {\nmax_connections 0\n}", []string{":4", "max_connections"}},
		{"a secret in the open", "mirror docker.io {\ncredentials me hunter2\n}", []string{":4", "placeholder"}},
		{"credentials without a secret", "mirror docker.io {\ncredentials me\n}", []string{":4"}},
		{"a certificate without a key", "mirror docker.io {\nclient_certificate a.pem\n}", []string{":4"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := registrytest.AdaptError("{\noci {\n" + row.options + "\n}\n}")
			for _, want := range row.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to name %s", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// Ambiguous names are refused when the configuration is loaded.
func TestValidateRefusesMirrors(t *testing.T) {
	for _, row := range []struct{ name, oci, site, want string }{
		{"a port in the name", "mirror localhost:5001", "", "upstream"},
		{"capitals in the name", "mirror Docker.io", "", "lower case"},
		{"a path in the name", "mirror docker.io/library", "", "without a port"},
		{"an upstream that is not a url", "mirror a.test {\nupstream a.test\n}", "", "scheme"},
		{"an upstream with a path", "mirror a.test {\nupstream https://a.test/v2\n}", "", "scheme, host and port"},
		{"an allow_private that is neither", "mirror a.test {\nallow_private somewhere\n}", "", "allow_private"},
		{"a pattern that is none", "mirror a.test {\ndeny /x\n}", "", "deny"},
		{"two sources of credentials", "mirror a.test {\ncredentials me {env.X}\ncredentials_file /x\n}",
			"", "use one"},
		{"Docker Hub by another of its names", "mirror index.docker.io", "", "write mirror docker.io"},
		{"private names of another name of it", "private registry-1.docker.io/**\nmirror docker.io", "",
			"either private or a mirror's"},
		{"a mirror that is us", "url https://a.test\nmirror a.test", "", "ns=a.test"},
		{"private names of a mirror", "private docker.io/team/**\nmirror docker.io", "",
			"either private or a mirror's"},
		{"private names that could be a mirror's", "private {team,docker.io}/**\nmirror docker.io", "",
			"either private or a mirror's"},
		{"a fallback without private names", "mirror docker.io", "fallback docker.io", "private"},
		{"a fallback that is not a mirror", "private a/**\nmirror docker.io", "fallback ghcr.io", "no such mirror"},
		{"an upstream that is not a mirror", "", "upstream ghcr.io", "no such mirror"},
		{"a fallback and an upstream", "private a/**\nmirror docker.io",
			"fallback docker.io\nupstream docker.io", "use one"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := registrytest.Adapt(t,
				registrytest.CaddyfileWith(registrytest.FreePort(t), t.TempDir(), row.oci, row.site))
			if err := registrytest.Validate(t, string(config)); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want it to say %q", err, row.want)
			}
		})
	}
	for _, private := range []string{"**", "*/app", "docker.iox/**", "team/docker.io"} {
		config := registrytest.Adapt(t,
			registrytest.CaddyfileWith(registrytest.FreePort(t), t.TempDir(), "private "+private+"\nmirror docker.io",
				"fallback docker.io"))
		if err := registrytest.Validate(t, string(config)); err != nil {
			t.Errorf("private %s: %v", private, err)
		}
	}
}
