package caddymodule_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/libdns/libdns"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/config"
	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

func init() {
	caddy.RegisterModule(gandi{})
}

// gandi stands for the DNS module of the example, which is not built in. It must
// never be asked: the test uses local certificates.
type gandi struct {
	Token string `json:"token,omitempty"`
}

func (gandi) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.gandi", New: func() caddy.Module { return new(gandi) }}
}

func (g *gandi) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&g.Token) {
		return d.ArgErr()
	}
	return nil
}

func (gandi) AppendRecords(context.Context, string, []libdns.Record) ([]libdns.Record, error) {
	panic("the DNS provider was asked")
}

func (gandi) DeleteRecords(context.Context, string, []libdns.Record) ([]libdns.Record, error) {
	panic("the DNS provider was asked")
}

// replaced fails the test if a file no longer says what is replaced in it.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the example has no %q any more", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// emptyIndex is an index of nothing: the smallest push that has a tag.
const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// putIndex pushes an index.
func putIndex(r *registrytest.Registry, status int, repo, tag, content string, fields ...string) {
	r.Helper()
	r.Want(status, "PUT", "/v2/"+repo+"/manifests/"+tag, strings.NewReader(content),
		append([]string{"Content-Type", ocispec.MediaTypeImageIndex}, fields...)...)
}

// The example is served as it stands, but for what a test machine cannot have: its
// ports, its directory, and certificates from an authority on the internet.
func TestTheExampleServes(t *testing.T) {
	plain, secure, insecure := registrytest.FreePort(t), registrytest.FreePort(t), registrytest.FreePort(t)
	dir := t.TempDir()
	t.Setenv("TEST_OIDC_SECRET", "secret")
	text := replaced(t, registrytest.ReadFile(t, "../examples/registry.ops.eblu.me/Caddyfile"),
		"admin off",
		fmt.Sprintf("admin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1\n\thttp_port %d\n\thttps_port %d\n"+
			"\tskip_install_trust\n\tstorage file_system %s", insecure, secure, filepath.Join(dir, "caddy")),
		"storage file /var/lib/registry", "storage file "+filepath.Join(dir, "registry"),
		"{file./run/secrets/oidc}", "{env.TEST_OIDC_SECRET}",
		"grace_period 10s", "grace_period 1s",
		"http://:5050", fmt.Sprintf("http://:%d", plain))
	registrytest.LoadJSON(t, localCertificates(t, registrytest.Adapt(t, text)))

	r := registrytest.At(t, plain)
	secret, _ := registrytest.Key(t)
	key := []string{"Authorization", registrytest.Basic("zot-ci", secret)}
	putIndex(r, http.StatusUnauthorized, "blumeops/app", "v1", emptyIndex)
	putIndex(r, http.StatusCreated, "blumeops/app", "v1", emptyIndex, key...)
	d := digest.FromString(emptyIndex)
	r.Want(http.StatusOK, "GET", "/v2/blumeops/app/manifests/v1?ns=registry.ops.eblu.me", nil)
	r.Want(http.StatusForbidden, "POST", "/v2/library/nginx/blobs/uploads/", nil, key...)

	roots := x509.NewCertPool()
	var client *http.Client
	r.Eventually("there is a certificate", func() bool {
		pem, err := os.ReadFile(filepath.Join(dir, "caddy/pki/authorities/local/root.crt"))
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return false
		}
		client = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", secure))
			},
		}}
		response, err := client.Get("https://registry.ops.eblu.me/v2/_catalog")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	for url, status := range map[string]int{
		"https://registry.ops.eblu.me/v2/blumeops/app/manifests/" + d.String(): http.StatusOK,
		"https://registry.ops.eblu.me/metrics":                                 http.StatusOK,
		"https://registry.ops.eblu.me/login":                                   http.StatusOK,
		// By way of /login.
		"https://registry.ops.eblu.me/user/apikey": http.StatusOK,
		// The other service does not run.
		"https://forge.ops.eblu.me/v2/":   http.StatusBadGateway,
		"https://another.ops.eblu.me/v2/": http.StatusNotFound,
	} {
		response, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: got status %d, want %d", url, response.StatusCode, status)
		}
	}
}

// The registry beside another Caddy is served as it stands, but for ports and directories. That
// Caddy says that its clients came over https.
func TestTheExampleBesideServes(t *testing.T) {
	behind, plain := registrytest.FreePort(t), registrytest.FreePort(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.MkdirAll(filepath.Join(home, ".config/registry"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".config/registry/oidc"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	registrytest.Load(t, replaced(t, registrytest.ReadFile(t, "../examples/registry.ops.eblu.me/beside.Caddyfile"),
		"admin off", "admin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1", "grace_period 10s", "grace_period 1s",
		"http://:5051", fmt.Sprintf("http://:%d", behind), "http://:5050", fmt.Sprintf("http://:%d", plain)))
	secret, _ := registrytest.Key(t)
	key := []string{"Authorization", registrytest.Basic("zot-ci", secret)}
	proxied := []string{"Host", "registry.ops.eblu.me", "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.7"}
	r := registrytest.At(t, behind)
	challenge, _ := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil, proxied...)
	if got := challenge.Header.Get("Www-Authenticate"); !strings.Contains(got,
		`realm="https://registry.ops.eblu.me/token"`) {
		t.Errorf("through the proxy: got the challenge %q", got)
	}
	putIndex(r, http.StatusCreated, "blumeops/app", "v1", emptyIndex, append(key, proxied...)...)
	r.Want(http.StatusOK, "GET", "/login", nil, proxied...)
	lan := registrytest.At(t, plain)
	lan.Want(http.StatusOK, "GET", "/v2/blumeops/app/manifests/v1", nil)
	putIndex(lan, http.StatusCreated, "blumeops/app", "v2", emptyIndex, key...)
	for _, r := range []*registrytest.Registry{r, lan} {
		r.Want(http.StatusOK, "GET", "/metrics", nil)
	}
}

// The table of the example names what is in zot's configuration, and the mirrors are the same.
func TestTheExampleHasWhatItsZotHas(t *testing.T) {
	var zots struct {
		Extensions struct {
			Sync struct {
				Registries []struct {
					Content []struct{ Destination string }
				}
			}
		}
		HTTP struct{ ExternalURL string }
	}
	if err := json.Unmarshal([]byte(registrytest.ReadFile(t, "../examples/registry.ops.eblu.me/zot.json")),
		&zots); err != nil {
		t.Fatal(err)
	}
	wants := []string{"url " + zots.HTTP.ExternalURL}
	for _, registry := range zots.Extensions.Sync.Registries {
		wants = append(wants, "mirror "+strings.TrimPrefix(registry.Content[0].Destination, "/"))
	}
	for _, name := range []string{"Caddyfile", "beside.Caddyfile"} {
		text := registrytest.ReadFile(t, "../examples/registry.ops.eblu.me/"+name)
		for _, want := range wants {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	if len(wants) != 4 {
		t.Errorf("zot.json has %d mirrors", len(wants)-1)
	}
}

// The import from zot finds in the Caddyfiles all that zot's configuration has. It reports only that
// zot has converted manifests.
func TestTheImportMissesNothingInTheExample(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	zots, err := zot.ReadConfig("../examples/registry.ops.eblu.me/zot.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Caddyfile", "beside.Caddyfile"} {
		text := registrytest.ReadFile(t, "../examples/registry.ops.eblu.me/"+name)
		document, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": name})
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Apps struct{ OCI config.Registry }
		}
		if err := json.Unmarshal(document, &parsed); err != nil {
			t.Fatal(err)
		}
		app := parsed.Apps.OCI
		site, err := app.Site()
		if err != nil {
			t.Fatal(err)
		}
		rules, err := app.Rules(site)
		if err != nil {
			t.Fatal(err)
		}
		advice := importing.Advise(zots, importing.Here{Mirrors: site.Mirrors, Rules: rules, SignIn: app.OIDC != nil}, nil)
		for _, line := range advice {
			if !strings.Contains(line, "preserveDigest is off") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if len(advice) != len(site.Mirrors) {
			t.Errorf("%s: %d lines about %d mirrors", name, len(advice), len(site.Mirrors))
		}
	}
}

// localCertificates has every certificate issued by Caddy's own authority. The global
// option local_certs yields to the site's `tls`, which asks for a DNS challenge.
func localCertificates(t *testing.T, config []byte) []byte {
	t.Helper()
	if !strings.Contains(string(config), `"provider":{"name":"gandi","token":"{env.GANDI_TOKEN}"}`) {
		t.Fatalf("the example asks for no DNS challenge: %s", config)
	}
	var parsed map[string]any
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	apps := parsed["apps"].(map[string]any)
	automation := apps["tls"].(map[string]any)["automation"].(map[string]any)
	for _, policy := range automation["policies"].([]any) {
		policy.(map[string]any)["issuers"] = []any{map[string]any{"module": "internal"}}
	}
	config, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// The repository's own Caddyfile, as `make run` serves it, with its three variables.
func TestTheDefaultCaddyfileServes(t *testing.T) {
	port := registrytest.FreePort(t)
	t.Setenv("REGISTRY_PORT", fmt.Sprint(port))
	t.Setenv("REGISTRY_DATA", t.TempDir())
	t.Setenv("REGISTRY_ADMIN", "off")
	registrytest.Load(t, registrytest.ReadFile(t, "../Caddyfile"))
	r := registrytest.At(t, port)
	secret, _ := registrytest.Key(t)
	key := []string{"Authorization", registrytest.Basic("zot-ci", secret)}
	other := strings.Replace(emptyIndex, "[]", `[],"annotations":{"a":"b"}`, 1)
	putIndex(r, http.StatusUnauthorized, "team/app", "v1", emptyIndex)
	putIndex(r, http.StatusCreated, "team/app", "v1", emptyIndex, key...)
	putIndex(r, http.StatusCreated, "team/app", "v1", emptyIndex, key...) // a CI retry
	putIndex(r, http.StatusForbidden, "team/app", "v1", other, key...)
	r.Want(http.StatusForbidden, "DELETE", "/v2/team/app/manifests/v1", nil, key...)
	_, got := r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil, "Host", "made.up.example")
	if string(got) != emptyIndex {
		t.Errorf("got %s, want %s", got, emptyIndex)
	}
	r.Want(http.StatusOK, "GET", "/metrics", nil)
}

// Without variables it listens on loopback alone, because it takes keys over plain HTTP there.
func TestTheDefaultCaddyfileStaysOnLoopback(t *testing.T) {
	for _, name := range []string{"REGISTRY_PORT", "REGISTRY_DATA", "REGISTRY_ADMIN", "REGISTRY_BIND"} {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	config := string(registrytest.Adapt(t, registrytest.ReadFile(t, "../Caddyfile")))
	for _, want := range []string{`"listen":["127.0.0.1:5050"]`, `"path":"./data"`, `"grace_period":10000000000`} {
		if !strings.Contains(config, want) {
			t.Errorf("got %s, want it to have %s", config, want)
		}
	}
}
