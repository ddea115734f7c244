package caddymodule_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// leak is a registry in trouble, and the words that are for its log alone.
type leak struct {
	oci string // more of the block oci
	// spoil makes the trouble while nothing runs, once an image is there.
	spoil func(t *testing.T, storage string)
	// secrets are in no answer. logged is in the log, or the trouble was not met.
	secrets []string
	logged  string
	repo    string // default: of the mirror
}

// Answers about internal errors name no host, address, path or record, for any caller and
// any request; the log has all of it.
func TestAnswersNameNothingWithin(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	unnamed := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(unnamed.Close)
	unnamed.Config.ErrorLog = nil
	address := func(base string) string { u, _ := url.Parse(base); return u.Host }
	faulty := func(kind upstreamtest.Kind, fault upstreamtest.Fault) (*upstreamtest.Upstream, string) {
		up := upstreamtest.New(t, upstreamtest.Config{Kind: kind})
		up.Fault(fault)
		return up, "mirror mirrored.test {\nupstream " + up.URL + "\nallow_private " +
			strings.Join(up.AllowPrivate(), " ") + "\n" + registrytest.Unhurried + "\n}"
	}
	at := func(base string) string {
		return "mirror mirrored.test {\nupstream " + base + "\n" + registrytest.Unhurried + "\n}"
	}
	rows := map[string]leak{
		"an upstream that is down": {oci: at(closed.URL), secrets: []string{address(closed.URL)},
			logged: address(closed.URL)},
		"a name that is not known": {oci: at("http://inner.invalid"), secrets: []string{"inner.invalid", "lookup"},
			logged: "inner.invalid"},
		"a certificate of nobody": {oci: at(unnamed.URL),
			secrets: []string{address(unnamed.URL), "x509", "certificate"}, logged: "x509"},
		"Redis and an upstream down": {oci: at(closed.URL) + "\ncache redis {\naddress " + address(closed.URL) + "\n}",
			secrets: []string{address(closed.URL), "redis"}, logged: "redis"},
		"a disk that cannot be read": {repo: "team/app", logged: "symbolic link",
			secrets: []string{"symbolic link", "_tags", "sha256/"}, spoil: func(t *testing.T, storage string) {
				// Links where files were, which are never followed: a look fails, and not by "not there".
				eachFile(t, storage, func(path string) error {
					return errors.Join(os.Remove(path), os.Symlink("nowhere", path))
				})
			}},
		"damaged records": {repo: "team/app", logged: "damaged", secrets: []string{"_tags", "objects", "sha256/"},
			spoil: func(t *testing.T, storage string) {
				eachFile(t, storage, func(path string) error { return os.WriteFile(path, []byte("{\x00"), 0o600) })
			}},
	}
	for name, fault := range map[string]upstreamtest.Fault{
		"a status of trouble": {Status: http.StatusInternalServerError, Body: "inner.example:5000 /srv/inner"},
		"a limit": {Status: http.StatusTooManyRequests,
			Body: `{"errors":[{"code":"TOOMANYREQUESTS","message":"inner.example:5000 /srv/inner"}]}`},
		"a refusal": {Status: http.StatusForbidden, Body: "inner.example:5000 /srv/inner"},
		"a redirect to nowhere": {Host: "registry", Status: http.StatusTemporaryRedirect,
			Header: http.Header{"Location": {"http://inner.example.invalid:5000/srv/inner?signature=x"}}},
		"a redirect to a private": {Host: "registry", Status: http.StatusTemporaryRedirect,
			Header: http.Header{"Location": {"http://127.0.0.1:1/srv/inner"}}},
		"a realm that is not a URL": {Host: "registry", Status: http.StatusUnauthorized,
			Header: http.Header{"Www-Authenticate": {`Bearer realm="ftp://inner.example:5000/srv/inner",service="x"`}}},
		"a realm that is down": {Host: "registry", Status: http.StatusUnauthorized,
			Header: http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer realm="%s/inner",service="x"`, closed.URL)}}},
		"an answer of HTML": {Path: "/manifests/", Status: http.StatusOK,
			Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>inner.example:5000</html>"},
	} {
		up, oci := faulty(upstreamtest.Hub, fault)
		rows[name] = leak{oci: oci,
			secrets: []string{up.Registry, up.Token, up.Storage, "inner", "signature", address(closed.URL),
				"127.0.0.1:1/"}, logged: up.Registry}
	}
	up, oci := faulty(upstreamtest.Hub,
		upstreamtest.Fault{Host: "token", Status: http.StatusBadGateway, Body: "inner.example:5000"})
	rows["a token endpoint in trouble"] = leak{oci: oci, secrets: []string{up.Registry, up.Token, "inner"},
		logged: up.Registry}
	up, oci = faulty(upstreamtest.Hub, upstreamtest.Fault{Host: "storage", CutOff: true})
	rows["a storage that breaks off"] = leak{oci: oci, secrets: []string{up.Registry, up.Storage}, logged: up.Registry}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) { row.check(t) })
	}
}

// eachFile changes all objects of private images.
func eachFile(t *testing.T, storage string, change func(path string) error) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(storage, "private", "objects"),
		func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && entry.Name() != "layout" { // without that it would not start
				err = change(path)
			}
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
}

func (row leak) check(t *testing.T) {
	port, dir := registrytest.FreePort(t), t.TempDir()
	storage, log := filepath.Join(dir, "inner-data"), filepath.Join(dir, "log")
	text := registrytest.Caddyfile(port, storage, registrytest.AllowAll+"\n"+row.oci, "")
	text = strings.Replace(text, "admin off", "admin off\n\tlog {\n\t\toutput file "+log+
		"\n\t\tformat json\n\t\tlevel DEBUG\n\t}", 1)
	registrytest.Load(t, text)
	r := registrytest.At(t, port)
	repo := row.repo
	if repo == "" {
		repo = "mirrored.test/library/app"
	} else {
		r.PushImage(repo, "v1", []byte("layer"))
	}
	if row.spoil != nil {
		// Content in memory would be served.
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		registrytest.Released(t)
		row.spoil(t, storage)
		registrytest.Load(t, text)
	}
	absent, layer := digest.FromString("absent"), digest.FromString("layer")
	asked := 0
	for _, ask := range []string{
		"GET /manifests/v1", "HEAD /manifests/v1", "GET /manifests/" + absent.String(), "GET /blobs/" + absent.String(),
		"HEAD /blobs/" + absent.String(),
		"GET /blobs/" + layer.String(), "GET /tags/list", "GET /referrers/" + absent.String(), "DELETE /manifests/v1",
		"DELETE /blobs/" + layer.String(),
		"POST /blobs/uploads/", "POST /blobs/uploads/?digest=" + absent.String(),
		"POST /blobs/uploads/?from=team/other&mount=" + layer.String(), "PUT /manifests/v2",
	} {
		method, path, _ := strings.Cut(ask, " ")
		var body *strings.Reader
		if body = strings.NewReader(""); method == http.MethodPut || strings.Contains(path, "digest=") {
			body = strings.NewReader(`{"schemaVersion":2}`)
		}
		request, err := http.NewRequest(method, r.Base+"/v2/"+repo+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		response, err := registrytest.Transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		text := string(answer) + fmt.Sprint(response.Header)
		if response.StatusCode >= 400 || err != nil { // or the answer broke off
			asked++
		}
		for _, secret := range append(row.secrets, dir, "inner-data", "dial tcp", "no such host", "no such file",
			"not a directory", "mirror/", "objects/") {
			if strings.Contains(text, secret) {
				t.Errorf("%s: status %d: %q is in %s", ask, response.StatusCode, secret, text)
			}
		}
	}
	if asked < 5 {
		t.Errorf("only %d requests failed: this trouble is none", asked)
	}
	if logged := registrytest.ReadFile(t, log); !strings.Contains(logged, row.logged) {
		t.Errorf("the log has no %q: %s", row.logged, logged)
	}
}
