// Package api compares what the server answers below /api/ with the document that it serves there,
// and runs the lines of docs/do/look.md.
package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

const password = "correct horse battery staple"

// start starts a server where erich is an administrator who can sign in, and ci may push. Its mirror of
// docker.io knows a tag of library/alpine, and holds nothing.
func start(t *testing.T) *server.Server {
	t.Helper()
	hub := upstreamtest.New(t, upstreamtest.Config{})
	hub.Manifest("library/alpine", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`), "3", "3.22")
	hash, err := exec.CommandContext(t.Context(), server.Binary(t), "hash-password", "--algorithm", "bcrypt", "--bcrypt-cost", "10", "--plaintext", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return server.Start(t, server.Options{Caddyfile: fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		%s
		local_user erich %s admins
		policy {
			allow anonymous read fetch
			deny anonymous read on secret/**
			allow group ci read create update delete on team/**
			allow group admins *
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, mirror.Block("docker.io", hub), strings.TrimSpace(string(hash)))})
}

// push pushes an image or an index under tags, and returns its digest.
func push(t *testing.T, s *server.Server, key, repo string, what remote.Taggable, tags ...string) string {
	t.Helper()
	for _, tag := range tags {
		ref, err := name.ParseReference(s.Host+"/"+repo+":"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		by := remote.WithAuth(&authn.Basic{Username: "x", Password: key})
		if index, ok := what.(v1.ImageIndex); ok {
			err = remote.WriteIndex(ref, index, by)
		} else {
			err = remote.Write(ref, what.(v1.Image), by)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	digest, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func image(t *testing.T, size int64) v1.Image {
	t.Helper()
	made, err := random.Image(size, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "arm64"
	if made, err = mutate.ConfigFile(made, config); err != nil {
		t.Fatal(err)
	}
	return mutate.Annotations(made, map[string]string{"org.opencontainers.image.title": "an image"}).(v1.Image)
}

// document is the OpenAPI document, made strict: an answer with a member that it lacks is wrong.
type document struct {
	*openapi3.T
	paths map[string]*regexp.Regexp
	// seen has the operations with the statuses that were answered.
	seen map[string]bool
}

func load(t *testing.T, s *server.Server) *document {
	t.Helper()
	response, err := http.Get(s.URL + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v", response.Status, err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the document is not valid: %v", err)
	}
	d := &document{doc, map[string]*regexp.Regexp{}, map[string]bool{}}
	for name, schema := range doc.Components.Schemas {
		if name != "Key" { // it has some of the members
			strict(schema)
		}
	}
	placeholder := regexp.MustCompile(`\\\{(\w+)\\\}`)
	for path, item := range doc.Paths.Map() {
		pattern := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(path), func(word string) string {
			return map[string]string{
				"repository": `(?P<repository>[a-z0-9._/-]+?)`, "tag": `(?P<tag>[\w.-]+)`, "digest": `(?P<digest>sha\d+:[0-9a-f]+)`, "id": `(?P<id>[0-9a-f]+)`,
				"mirror": `(?P<mirror>[a-z0-9.:-]+)`,
			}[strings.Trim(word, `\{}`)]
		})
		d.paths[path] = regexp.MustCompile("^" + pattern + "$")
		for _, op := range item.Operations() {
			for _, answer := range op.Responses.Map() {
				for _, media := range answer.Value.Content {
					strict(media.Schema)
				}
			}
		}
	}
	return d
}

// strict refuses members that an object does not name.
func strict(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Ref != "" && ref.Value.AdditionalProperties.Has != nil {
		return
	}
	schema := ref.Value
	no := false
	if len(schema.Properties) > 0 && schema.Description != "An API key" {
		schema.AdditionalProperties.Has = &no
	}
	for _, below := range schema.Properties {
		if !strings.HasSuffix(below.Ref, "/Key") {
			strict(below)
		}
	}
	if schema.Items != nil && !strings.HasSuffix(schema.Items.Ref, "/Key") {
		strict(schema.Items)
	}
}

// route finds the path of the document for an address: the most specific of those that fit.
func (d *document) route(t *testing.T, request *http.Request) (*routers.Route, map[string]string) {
	t.Helper()
	best := ""
	for path, pattern := range d.paths {
		if pattern.MatchString(request.URL.Path) && (len(path) > len(best)) {
			best = path
		}
	}
	if best == "" {
		t.Fatalf("the document has no path for %s", request.URL.Path)
	}
	item := d.Paths.Value(best)
	op := item.GetOperation(request.Method)
	if op == nil {
		t.Fatalf("the document has no %s %s", request.Method, best)
	}
	params := map[string]string{}
	found := d.paths[best].FindStringSubmatch(request.URL.Path)
	for i, word := range d.paths[best].SubexpNames() {
		if word != "" {
			params[word] = found[i]
		}
	}
	return &routers.Route{Spec: d.T, Path: best, PathItem: item, Method: request.Method, Operation: op}, params
}

// ask sends a request, compares the answer with the document, and returns the body.
func (d *document) ask(t *testing.T, client *http.Client, base string, status int, method, target, body string, fields ...string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s %s: got %d %s, want %d", method, target, response.StatusCode, data, status)
	}
	route, params := d.route(t, request)
	asked := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, ExcludeRequestBody: body == ""},
	}
	if status < 400 {
		request.Body = io.NopCloser(strings.NewReader(body))
		if err := openapi3filter.ValidateRequest(t.Context(), asked); err != nil {
			t.Errorf("%s %s was answered, and is not in the document: %v", method, target, err)
		}
	}
	if err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: asked, Status: status, Header: response.Header, Options: asked.Options,
		Body: io.NopCloser(bytes.NewReader(data)),
	}); err != nil {
		t.Errorf("%s %s: the answer is not that of the document: %v\n%s", method, target, err, data)
	}
	d.seen[fmt.Sprintf("%s %s %d", method, route.Path, status)] = true
	return string(data)
}

// Every answer is as the document says, and everything that the document says is answered.
func TestTheAnswersAreThoseOfTheDocument(t *testing.T) {
	s := start(t)
	key, _ := s.Key(t, "ci", "ci")
	d := load(t, s)
	one := image(t, 1000)
	digest := push(t, s, key, "team/app", one, "v1", "v1.0.0", "latest")
	moved := push(t, s, key, "team/app", image(t, 2000), "latest", "v2")
	platforms := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
	})
	index := push(t, s, key, "team/app", platforms, "index")
	admin := &http.Client{}
	var err error
	if admin.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	admin.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := admin.PostForm(s.URL+"/login", url.Values{"username": {"erich"}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	by := []string{"Authorization", "Bearer " + key}
	if response, err = http.Get(s.URL + "/v2/docker.io/library/alpine/tags/list"); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the upstream's tags: got %v, %v", response, err)
	}
	response.Body.Close()
	for _, row := range []struct {
		status         int
		method, target string
		fields         []string
	}{
		{200, "GET", "/api/images", nil},
		{200, "GET", "/api/images?q=app&kind=private&in=team&order=push&n=1", by},
		{200, "GET", "/api/images?q=:v1&order=size", by},
		{200, "GET", "/api/images?q=" + digest[:20], by},
		{400, "GET", "/api/images?q=sha256:1", by},
		{401, "GET", "/api/images", []string{"Authorization", "Bearer wrong"}},
		{200, "GET", "/api/images/team/app", by},
		{200, "GET", "/api/images/team/app", nil},
		{400, "GET", "/api/images/team//app", by},
		{401, "GET", "/api/images/secret/app", nil},
		{404, "GET", "/api/images/team/none", by},
		{200, "GET", "/api/images/team/app/-/tags?order=version&tag=v&n=500", by},
		{200, "GET", "/api/images/team/app/-/tags?n=1", nil},
		{400, "GET", "/api/images/team/app/-/tags?n=1000", by},
		{401, "GET", "/api/images/secret/app/-/tags", nil},
		{404, "GET", "/api/images/team/none/-/tags", by},
		{200, "GET", "/api/images/team/app/-/images", by},
		{400, "GET", "/api/images/team/app/-/images?after=x", by},
		{401, "GET", "/api/images/secret/app/-/images", nil},
		{404, "GET", "/api/images/team/none/-/images", by},
		{200, "GET", "/api/images/docker.io/library/alpine/-/upstream?tag=.&n=1", by},
		{400, "GET", "/api/images/docker.io/library/alpine/-/upstream?n=0", by},
		{401, "GET", "/api/images/secret/app/-/upstream", nil},
		{404, "GET", "/api/images/team/app/-/upstream", by},
		{200, "GET", "/api/images/team/app:v1", by},
		{400, "GET", "/api/images/team/app:v1?n=1", by},
		{401, "GET", "/api/images/secret/app:v1", nil},
		{404, "GET", "/api/images/team/app:none", by},
		{200, "GET", "/api/images/team/app:latest/-/history", by},
		{400, "GET", "/api/images/team/app:latest/-/history?n=1", by},
		{401, "GET", "/api/images/secret/app:v1/-/history", nil},
		{404, "GET", "/api/images/team/app:none/-/history", by},
		{200, "GET", "/api/images/team/app@" + digest, by},
		{400, "GET", "/api/images/team/app@" + digest + "?n=1", by},
		{401, "GET", "/api/images/secret/app@" + digest, nil},
		{404, "GET", "/api/images/team/none@" + digest, by},
		{200, "GET", "/api/images/team/app@" + digest + "/-/users", by},
		{400, "GET", "/api/images/team/app@" + digest + "/-/users?n=0", by},
		{401, "GET", "/api/images/secret/app@" + digest + "/-/users", nil},
		{404, "GET", "/api/images/team/none@" + digest + "/-/users", by},
		{200, "GET", "/api/images/team/app@" + index + "/-/deletion", by},
		{400, "GET", "/api/images/team/app@" + index + "/-/deletion?n=0", by},
		{401, "GET", "/api/images/team/app@" + index + "/-/deletion", nil},
		{403, "GET", "/api/images/other/app@" + index + "/-/deletion", by},
		{404, "GET", "/api/images/team/none@" + index + "/-/deletion", by},
		{200, "GET", "/api/images/team/app:index/-/deletion", by},
		{400, "GET", "/api/images/team/app:index/-/deletion?n=0", by},
		{401, "GET", "/api/images/team/app:index/-/deletion", nil},
		{403, "GET", "/api/images/other/app:index/-/deletion", by},
		{404, "GET", "/api/images/team/app:none/-/deletion", by},
		{409, "DELETE", "/api/images/team/app@" + index + "?plan=another", by},
		{200, "GET", "/api/mirrors", nil},
		{401, "GET", "/api/mirrors", []string{"Authorization", "Bearer wrong"}},
		{200, "GET", "/api/mirrors/docker.io", nil},
		{400, "GET", "/api/mirrors/docker.io?n=1", by},
		{401, "GET", "/api/mirrors/docker.io", []string{"Authorization", "Bearer wrong"}},
		{404, "GET", "/api/mirrors/quay.io", by},
		{200, "GET", "/api/activity", nil},
		{200, "GET", "/api/activity?repo=team/app&event=push&user=ci&n=2", by},
		{400, "GET", "/api/activity?after=x", by},
		{401, "GET", "/api/activity", []string{"Authorization", "Bearer wrong"}},
		{200, "GET", "/api/state", nil},
		{200, "GET", "/api/state", by},
		{401, "GET", "/api/state", []string{"Authorization", "Bearer wrong"}},
		{200, "GET", "/api/openapi.json", nil},
		{401, "GET", "/api/openapi.json", []string{"Authorization", "Bearer wrong"}},
		{401, "DELETE", "/api/images/team/app:v1", nil},
		{403, "DELETE", "/api/images/other/app:v1", by},
		{404, "DELETE", "/api/images/team/app:none", by},
		{400, "DELETE", "/api/images/team/app:v1?x=y", by},
		{200, "DELETE", "/api/images/team/app:v1", by},
		{401, "DELETE", "/api/images/team/app@" + digest, nil},
		{403, "DELETE", "/api/images/other/app@" + digest, by},
		{400, "DELETE", "/api/images/team/app@" + digest + "?x=y", by},
		{200, "DELETE", "/api/images/team/app@" + moved, by},
		{404, "DELETE", "/api/images/team/app@" + moved, by},
		{200, "GET", "/api/keys", by},
		{403, "GET", "/api/keys?user=erich", by},
		{401, "GET", "/api/keys", nil},
		{401, "GET", "/api/keys/012345678901", nil},
		{404, "GET", "/api/keys/012345678901", by},
		{401, "DELETE", "/api/keys/012345678901", nil},
		{404, "DELETE", "/api/keys/012345678901", by},
	} {
		d.ask(t, http.DefaultClient, s.URL, row.status, row.method, row.target, "", row.fields...)
	}
	plan := d.ask(t, http.DefaultClient, s.URL, http.StatusOK, "GET", "/api/images/team/app:index/-/deletion", "", by...)
	planned := regexp.MustCompile(`"key":"([0-9a-f]+)"`).FindStringSubmatch(plan)
	if planned == nil {
		t.Fatalf("got %s", plan)
	}
	d.ask(t, http.DefaultClient, s.URL, http.StatusOK, "DELETE", "/api/images/team/app@"+index+"?plan="+planned[1], "", by...)
	json := []string{"Content-Type", "application/json"}
	made := d.ask(t, admin, s.URL, http.StatusCreated, "POST", "/api/keys", `{"name": "ci", "expires": "30d", "actions": ["read"], "globs": ["team/**"], "user": "bot", "groups": ["ci"]}`, json...)
	id := regexp.MustCompile(`"id":"([0-9a-f]+)"`).FindStringSubmatch(made)
	if id == nil {
		t.Fatalf("got %s", made)
	}
	d.ask(t, admin, s.URL, http.StatusBadRequest, "POST", "/api/keys", `{"expires": "soon"}`, json...)
	d.ask(t, http.DefaultClient, s.URL, http.StatusUnauthorized, "POST", "/api/keys", `{}`, json...)
	d.ask(t, http.DefaultClient, s.URL, http.StatusForbidden, "POST", "/api/keys", `{}`, append(json, by...)...)
	d.ask(t, admin, s.URL, http.StatusUnsupportedMediaType, "POST", "/api/keys", `{}`, "Content-Type", "text/plain")
	d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/keys/"+id[1], "")
	d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/keys?user=bot", "")
	d.ask(t, admin, s.URL, http.StatusOK, "DELETE", "/api/keys/"+id[1], "")
	d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/images/team/app", "")
	if got := d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/activity?event=key_made", ""); !strings.Contains(got, `"subject":"key `) {
		t.Errorf("got %s", got)
	}
	d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/mirrors/docker.io", "")
	d.ask(t, admin, s.URL, http.StatusOK, "GET", "/api/storage", "")

	var missing []string
	for path, item := range d.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				// 503 needs a registry that is broken, and the 403 of keys plain HTTP.
				if !d.seen[method+" "+path+" "+status] && status != "503" && !(strings.HasPrefix(path, "/api/keys/") && status == "403") {
					missing = append(missing, method+" "+path+" "+status)
				}
			}
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("the document has answers that nothing asked for:\n%s", strings.Join(missing, "\n"))
	}
}
