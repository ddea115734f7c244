package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// shownImage is an image to be pushed, with what pages show of one.
type shownImage struct {
	config      map[string]any
	layers      []int // their sizes; content is random
	annotations map[string]string
}

// pushShown pushes an image under tags, and returns its digest and size.
func pushShown(r *registrytest.Registry, repo string, image shownImage, tags ...string) ocispec.Descriptor {
	r.Helper()
	config := mustJSON(r.T, image.config)
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Annotations: image.annotations,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: r.PushBlob(repo, config), Size: int64(len(config))},
	}
	for _, size := range image.layers {
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: r.PushBlob(repo, registrytest.RandomBytes(size)), Size: int64(size),
		})
	}
	return pushManifest(r, repo, ocispec.MediaTypeImageManifest, mustJSON(r.T, manifest), tags...)
}

// pushManifest pushes a manifest by its digest and under tags.
func pushManifest(r *registrytest.Registry, repo, mediaType string, data []byte, tags ...string) ocispec.Descriptor {
	r.Helper()
	d := digest.FromBytes(data)
	for _, ref := range append([]string{d.String()}, tags...) {
		r.Want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(data), "Content-Type", mediaType)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(data.Bytes())
}

// appImage is an image as BuildKit makes it.
func appImage(architecture string) shownImage {
	return shownImage{
		config: map[string]any{
			"architecture": architecture, "os": "linux", "created": "2026-11-29T10:31:00Z",
			"config": map[string]any{
				"User": "node", "WorkingDir": "/app", "Entrypoint": []string{"/tini", "--"}, "Cmd": []string{"node", "server.js"},
				"Env": []string{"PATH=/usr/local/bin:/usr/bin:/bin", "NODE_VERSION=24.1.0", "EMPTY="}, "ExposedPorts": map[string]any{"3000/tcp": struct{}{}},
				"Volumes": map[string]any{"/data": struct{}{}}, "Labels": map[string]string{"maintainer": "erich"}, "StopSignal": "SIGTERM",
				"Healthcheck": map[string]any{"Test": []string{"CMD-SHELL", "curl -f localhost:3000"}, "Interval": 30_000_000_000},
			},
			"history": []map[string]any{
				{"created_by": "# debian.sh --arch 'amd64' out/ 'bookworm' '@1764000000'"},
				{"created_by": "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata # buildkit"},
				{"created_by": "/bin/sh -c #(nop)  WORKDIR /app", "empty_layer": true},
				{"created_by": "COPY node_modules ./node_modules # buildkit"},
				{"created_by": "COPY .next ./.next # buildkit"},
				{"created_by": "EXPOSE map[3000/tcp:{}]", "empty_layer": true},
				{"created_by": `CMD ["node" "server.js"]`, "empty_layer": true},
			},
		},
		layers: []int{29_100, 4_200, 18_700, 6_000},
		annotations: map[string]string{
			ocispec.AnnotationDescription: "The start page of the homelab: services, bookmarks and a clock.",
			ocispec.AnnotationSource:      "https://forge.eblu.me/eblume/homepage", ocispec.AnnotationRevision: "c11d0fb",
			ocispec.AnnotationLicenses: "MIT", ocispec.AnnotationVersion: "1.10.2",
		},
	}
}

// fillPages pushes what pages show: an index for two platforms with an attestation, aliases, versions,
// a signature, a chart, and a tag that has moved.
func fillPages(r *registrytest.Registry) (index, child, signature digest.Digest) {
	r.Helper()
	const repo = "blumeops/homepage"
	for _, version := range []string{"v1.9.4", "v1.10.0-rc1", "v1.10.0", "v1.10.1"} {
		pushShown(r, repo, appImage("amd64"), version, "latest")
	}
	amd, arm := pushShown(r, repo, appImage("amd64")), pushShown(r, repo, appImage("arm64"))
	amd.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	attestation := pushShown(r, repo, shownImage{config: map[string]any{}, layers: []int{900}})
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{
		"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd.Digest.String(),
	}
	list := pushManifest(r, repo, ocispec.MediaTypeImageIndex, mustJSON(r.T, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{amd, arm, attestation}, Annotations: appImage("").annotations,
	}), "v1.10.2", "v1.10", "v1", "latest")
	empty := []byte("{}")
	signed := pushManifest(r, repo, ocispec.MediaTypeImageManifest, mustJSON(r.T, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Subject: &ocispec.Descriptor{MediaType: list.MediaType, Digest: list.Digest, Size: list.Size},
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: r.PushBlob(repo, empty), Size: 2},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeEmptyJSON, Digest: digest.FromBytes(empty), Size: 2}},
	}))
	for i, name := range []string{"blumeops/forgejo-runner", "blumeops/quartz", "tools/nettest"} {
		r.PushImage(name, "v1", registrytest.RandomBytes(1000*(i+1)))
	}
	chart := mustJSON(r.T, map[string]string{"name": "web", "version": "0.2.0"})
	pushManifest(r, "charts/web", ocispec.MediaTypeImageManifest, mustJSON(r.T, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json", Digest: r.PushBlob("charts/web", chart), Size: int64(len(chart))},
		Layers: []ocispec.Descriptor{{MediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", Digest: r.PushBlob("charts/web", empty), Size: 2}},
	}), "0.2.0")
	return list.Digest, amd.Digest, signed.Digest
}

const maxPageLength = 100 << 10

// wantPage opens a page as a browser does, and checks what all pages have in common.
func wantPage(r *registrytest.Registry, status int, path string, fields ...string) string {
	r.Helper()
	response, data := r.Want(status, "GET", path, nil, append([]string{"Accept", "text/html,*/*;q=0.8"}, fields...)...)
	body := string(data)
	policy := response.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'self';") || strings.Contains(policy, "unsafe") {
		r.Errorf("%s: got the policy %q", path, policy)
	}
	for name, want := range map[string]string{"X-Robots-Tag": "noindex", "X-Content-Type-Options": "nosniff",
		"Content-Type": "text/html; charset=utf-8", "Vary": "Cookie"} {
		if got := response.Header.Get(name); got != want {
			r.Errorf("%s: got %s %q, want %q", path, name, got, want)
		}
	}
	if found := inlineCode.FindString(body); found != "" {
		r.Errorf("%s: the page has the inline code %q", path, found)
	}
	if len(body) > maxPageLength {
		r.Errorf("%s: the page has %d bytes", path, len(body))
	}
	if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, "%!") {
		r.Errorf("%s: a template wrote what is not to be shown: %s", path, body)
	}
	return body
}

// inlineCode is a style or a script in a page itself.
var inlineCode = regexp.MustCompile(`(?i)<style|\sstyle=|<script>|<script(?: [^>]*)?>[^<]|\son[a-z]+="|href="(?:javascript|data):`)

func TestPagesShowImages(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	index, child, signature := fillPages(r)
	host := strings.TrimPrefix(r.Base, "http://")
	for _, row := range []struct {
		path     string
		has      []string
		hasNever []string
	}{
		{"/", []string{"<h1>Images</h1>", `href="/images/blumeops/homepage"`, "services, bookmarks", "docker pull " + host}, []string{"Sign in"}},
		{"/images", []string{`href="/images/tools/nettest"`, `href="/images?in=blumeops"`}, nil},
		{"/images?order=push", []string{"blumeops/homepage"}, []string{"in=blumeops"}},
		{"/images?q=page", []string{"blumeops/homepage"}, []string{"nettest"}},
		{"/images?q=ops+run", []string{"blumeops/forgejo-runner"}, []string{"homepage<"}},
		{"/images?q=homepage:v1.10", []string{`href="/images/blumeops/homepage:v1.10"`}, []string{"nettest"}},
		{"/images?q=" + host + "/blumeops/homepage:v1", []string{`href="/images/blumeops/homepage:v1"`}, nil},
		{"/images?q=Bookmarks+homepage", []string{"blumeops/homepage"}, []string{"nettest"}},
		{"/images?kind=chart", []string{"charts/web", `<span class="tag">Helm chart</span>`}, []string{"homepage<", "nettest"}},
		{"/images?kind=image&order=size", []string{"blumeops/homepage"}, []string{"charts/web", "nettest"}},
		{"/images?kind=artifact", []string{"nettest"}, []string{"charts/web", "homepage<"}},
		{"/images?in=tools", []string{"tools/nettest"}, []string{"homepage<"}},
		{"/images?q=nothing-like-it", []string{"Nothing here has this name"}, nil},
		{"/images?q=" + index.String()[:14], []string{digestLink(index), "blumeops/homepage"}, nil},
		{"/images?q=sha256:ab", []string{"at least 6 digits"}, nil},
		{"/images/blumeops/homepage", []string{"<h1>blumeops/homepage</h1>", "v1.10.2</a>", ">latest</a>", ">v1.10</a>", "amd64, arm64/v8",
			"docker pull " + host + "/blumeops/homepage:", `rel="noreferrer nofollow"`, "<bdi>forge.eblu.me/eblume/homepage</bdi>"}, nil},
		{"/images/blumeops/homepage?tag=RC", []string{"v1.10.0-rc1", "1 found in 8 tags"}, []string{"v1.9.4"}},
		{"/images/blumeops/homepage:v1.10.2", []string{index.String(), "linux/arm64/v8", "apt-get update", `<span class="k">COPY</span>`, "29.1 kB",
			"58.0 kB", "SIGTERM", "NODE_VERSION", "3000/tcp", `<rect x="0.00" width="`, "Signature, not verified here", digestLink(signature),
			"podman pull --tls-verify=false " + host + "/blumeops/homepage:v1.10.2", "oci:image", `"schemaVersion": 2`}, nil},
		{"/images/blumeops/homepage:v1.10.2?platform=linux/arm64/v8", []string{`platform=linux%2Farm64%2Fv8" aria-current="true"`}, nil},
		{"/images/blumeops/homepage@" + child.String(), []string{"Part of", digestLink(index), "Attestation"}[:2], nil},
		{"/images/blumeops/homepage@" + signature.String(), []string{"Refers to an image", digestLink(index), "oras pull"}, []string{"docker pull"}},
		{"/images/blumeops/homepage:latest/-/history", []string{"History of latest", short12(index), ">now<"}, nil},
		{"/images/charts/web:0.2.0", []string{"helm pull --plain-http oci://" + host + "/charts/web --version 0.2.0", "Helm chart"}, nil},
	} {
		body := wantPage(r, http.StatusOK, row.path)
		for _, want := range row.has {
			if !strings.Contains(body, want) {
				t.Errorf("%s has no %q:\n%s", row.path, want, body)
			}
		}
		for _, not := range row.hasNever {
			if strings.Contains(body, not) {
				t.Errorf("%s has %q", row.path, not)
			}
		}
	}
	body := wantPage(r, http.StatusOK, "/images/blumeops/homepage")
	if newer, older := strings.Index(body, ">v1.10.0</a>"), strings.Index(body, ">v1.9.4</a>"); newer < 0 || older < newer {
		t.Error("the tags are not in the order of versions")
	}
	if strings.Contains(body, `<td><a class="name" href="/images/blumeops/homepage:latest">`) {
		t.Error("an alias has a row of its own")
	}
}

func digestLink(d digest.Digest) string { return "@" + d.String() + `"` }

func short12(d digest.Digest) string { return d.Encoded()[:12] }

// Old addresses, and names as clients write them, lead to pages.
func TestAddressesLeadToPages(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	d := r.PushImage("blumeops/app", "v1", registrytest.RandomBytes(10)).String()
	for path, want := range map[string]string{
		"/home": "/", "/explore": "/", "/images/": "/images",
		"/image/blumeops/app": "/images/blumeops/app", "/image/blumeops%2Fapp": "/images/blumeops/app",
		"/image/blumeops/app/tag/v1": "/images/blumeops/app:v1",
		"/blumeops/app":              "/images/blumeops/app", "/blumeops/app:v1": "/images/blumeops/app:v1",
		"/blumeops/app@" + d: "/images/blumeops/app@" + d, "/blumeops/app:v1@" + d: "/images/blumeops/app@" + d,
	} {
		response, _ := r.Do("GET", path, nil, "Accept", "text/html")
		if got := response.Header.Get("Location"); response.StatusCode/100 != 3 || got != want {
			t.Errorf("%s: got %d to %q, want %q", path, response.StatusCode, got, want)
		}
	}
	for _, path := range []string{"/blumeops/app:v2", "/blumeops", "/images/x:", "/images/A", "/images/x@sha256:1", "/images/blumeops/app/-/history",
		"/images/blumeops/app:v1/-/other", "/-/style.css"} {
		wantPage(r, http.StatusNotFound, path)
	}
	r.Want(http.StatusNotFound, "GET", "/blumeops/app:v1", nil) // a client that wants no page
	response, body := r.Want(http.StatusMethodNotAllowed, "POST", "/images/blumeops/app", strings.NewReader("x"))
	if response.Header.Get("Allow") != "GET, HEAD" || !strings.Contains(string(body), "only to be looked at") {
		t.Errorf("a POST is answered with %v and %s", response.Header, body)
	}
	if _, body := r.Want(http.StatusOK, "GET", "/robots.txt", nil); !strings.Contains(string(body), "Disallow: /\n") {
		t.Errorf("robots.txt is %s", body)
	}
	wantPage(r, http.StatusBadRequest, "/images?after=x")
	response, _ = r.Want(http.StatusFound, "GET", "/favicon.ico", nil)
	response, _ = r.Want(http.StatusOK, "GET", response.Header.Get("Location"), nil)
	if got := response.Header.Get("Cache-Control"); response.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(got, "immutable") {
		t.Errorf("the icon has %v", response.Header)
	}
}

func TestPagesCanBeTurnedOff(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t, registrytest.CaddyfileWith(port, t.TempDir(), registrytest.AllowAll, "pages off"))
	r := registrytest.At(t, port)
	r.PushImage("a", "v1", registrytest.RandomBytes(10))
	if _, body := r.Want(http.StatusOK, "GET", "/", nil, "Accept", "text/html"); !strings.HasPrefix(string(body), "This is a container registry") {
		t.Errorf("the root is %s", body)
	}
	for _, path := range []string{"/images", "/images/a", "/a:v1", "/robots.txt", "/home"} {
		r.Want(http.StatusNotFound, "GET", path, nil, "Accept", "text/html")
	}
	for options, want := range map[string]string{"pages on": `pages: "on" must be off`, "pages off\npages off": "duplicate option pages"} {
		if err := registrytest.AdaptError(registrytest.CaddyfileWith(port, "/x", "", options)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", options, err, want)
		}
	}
}

// A page of a repository that may not be read is that of one that does not exist, for visitors and
// for people.
func TestPagesShowNothingThatMayNotBeRead(t *testing.T) {
	port := registrytest.FreePort(t)
	people := "local_user erich " + registrytest.PasswordHash() + " friends\nlocal_user bob " + registrytest.PasswordHash() + " others\n"
	r := registrytest.Serve(t, port, t.TempDir(), people+`policy {
			allow anonymous read on public/**
			allow group friends * on team/** public/**
		}`, "")
	push := visit(t, port, nil)
	push.page(http.StatusSeeOther, "/login", passwordForm("erich", registrytest.Password))
	key := push.makeKey()
	var d digest.Digest
	var layer []byte
	for _, repo := range []string{"team/secret", "public/app"} {
		layer = append(registrytest.RandomBytes(10), repo...)
		d = pushAs(r, key, repo, "v1", layer)
		pushAs(r, key, repo, "v1", append(layer, 'x')) // the tag moves
		if repo == "team/secret" {
			for _, path := range []string{"/images/team/secret", "/images/team/secret:v1", "/images/team/secret@" + d.String(),
				"/images/team/secret:v1/-/history", "/team/secret:v1"} {
				missing := strings.Replace(path, "secret", "absent", 1)
				for name, v := range map[string]*visitor{"anonymous": visit(t, port, nil), "bob": signedIn(t, port, "bob")} {
					denied, absent := v.browse(http.StatusNotFound, path), v.browse(http.StatusNotFound, missing)
					if strings.ReplaceAll(denied, "secret", "absent") != absent {
						t.Errorf("%s sees at %s:\n%s\nand for what is not there:\n%s", name, path, denied, absent)
					}
					if offers := strings.Contains(denied, `class="button" href="/login?return=`); offers != (name == "anonymous") {
						t.Errorf("%s is offered a sign-in: %v", name, offers)
					}
				}
			}
		}
	}
	secret := digest.FromBytes(append(bytes.Clone(layer), 'x'))
	for name, v := range map[string]*visitor{"anonymous": visit(t, port, nil), "bob": signedIn(t, port, "bob"), "erich": push} {
		all := ""
		for _, path := range []string{"/", "/images", "/images?q=secret", "/images?in=team", "/images?order=size", "/images?q=v1",
			"/images?q=" + secret.String()[:20], "/images/public/app", "/images/public/app:v1", "/images/public/app:v1/-/history"} {
			all += v.browse(http.StatusOK, path)
		}
		if sees := strings.Contains(strings.NewReplacer(`value="secret"`, "", "q=secret", "").Replace(all), "secret"); sees != (name == "erich") {
			t.Errorf("%s sees the secret repository: %v", name, sees)
		}
		if sees := strings.Contains(all, "by <bdi>erich"); sees != (name != "anonymous") {
			t.Errorf("%s sees who pushed: %v", name, sees)
		}
		if strings.Contains(all, "Only here") {
			t.Errorf("%s, who may not read everything, sees what is only here", name)
		}
		if in := strings.Contains(all, "You are <strong>"+name+"</strong>, in "); in != (name != "anonymous") {
			t.Errorf("%s is shown as signed in: %v", name, in)
		}
	}
	form := passwordForm("erich", registrytest.Password)
	form.Set("return", "/images/team/secret:v1")
	response, _ := visit(t, port, nil).page(http.StatusSeeOther, "/login", form)
	if got := response.Header.Get("Location"); got != form.Get("return") {
		t.Errorf("the sign-in that a page offers leads to %q", got)
	}
	response, _ = push.page(http.StatusOK, "/images", nil)
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a page for somebody signed in has Cache-Control %q", got)
	}
}

// pushAs pushes an image with an API key.
func pushAs(r *registrytest.Registry, key, repo, tag string, layer []byte) digest.Digest {
	r.Helper()
	bearer := []string{"Authorization", "Bearer " + key}
	blob := func(content []byte) ocispec.Descriptor {
		d := digest.FromBytes(content)
		r.Want(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), bytes.NewReader(content), bearer...)
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(content))}
	}
	config := blob([]byte("{}"))
	config.MediaType = ocispec.MediaTypeImageConfig
	data := mustJSON(r.T, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{blob(layer)}})
	r.Want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, bytes.NewReader(data),
		append(bearer, "Content-Type", ocispec.MediaTypeImageManifest)...)
	return digest.FromBytes(data)
}

// browse opens a page with the visitor's cookies.
func (v *visitor) browse(status int, path string) string {
	v.Helper()
	request, err := http.NewRequest(http.MethodGet, v.Base+path, nil)
	if err != nil {
		v.Fatal(err)
	}
	address, err := url.Parse(v.Base)
	if err != nil {
		v.Fatal(err)
	}
	var cookies []string
	for _, cookie := range v.client.Jar.Cookies(address) {
		cookies = append(cookies, cookie.String())
	}
	fields := []string{"Accept", "text/html"}
	if len(cookies) > 0 {
		fields = append(fields, "Cookie", strings.Join(cookies, "; "))
	}
	return wantPage(v.Registry, status, request.URL.RequestURI(), fields...)
}

// signedIn returns a browser in which a local user is signed in.
func signedIn(t *testing.T, port int, user string) *visitor {
	t.Helper()
	v := visit(t, port, nil)
	v.page(http.StatusSeeOther, "/login", passwordForm(user, registrytest.Password))
	return v
}

// An image may say what it likes.
func TestTextsOfImagesAreHostile(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	const script, turned = `"><script>alert(1)</script><img src=x onerror=alert(2)>`, "safe\u202etxt.exe\u2066\x1b[31m\u200b"
	long := strings.Repeat(`<b>&"'`, 10<<10/6)
	env, labels, steps, annotations := []string{}, map[string]string{}, []map[string]any{}, map[string]string{}
	for i := range 300 {
		text := []string{script, turned, "plain", long}[i%4]
		if i > 4 { // else the config is too large to be read
			text = text[:min(len(text), 60)]
		}
		env = append(env, fmt.Sprintf("E%d=%s", i, text))
		labels[fmt.Sprintf("l%d%s", i, text[:min(len(text), 60)])] = text
		steps = append(steps, map[string]any{"created_by": text, "empty_layer": true, "comment": text})
		if i < 4 {
			annotations[fmt.Sprintf("a%d", i)] = text
		}
	}
	annotations[ocispec.AnnotationSource] = "javascript:alert(3)"
	annotations[ocispec.AnnotationDescription] = script + turned
	annotations[ocispec.AnnotationVersion] = turned
	pushShown(r, "evil/app", shownImage{
		config: map[string]any{
			"architecture": script, "os": turned, "author": script, "created": "2026-11-29T10:31:00Z", "history": steps,
			"config": map[string]any{"User": script, "WorkingDir": turned, "Env": env, "Labels": labels, "Cmd": []string{long, turned},
				"ExposedPorts": map[string]any{script: struct{}{}}, "StopSignal": long},
		},
		layers: []int{10, 0, 20}, annotations: annotations,
	}, "v1")
	pushShown(r, "evil/config", shownImage{config: map[string]any{"author": strings.Repeat("a", core.MaxConfig)}, layers: []int{5}}, "v1")
	pushShown(r, "evil/shapes", shownImage{config: map[string]any{"config": []int{1}, "history": map[string]int{"x": 1}, "created": 7}, layers: []int{5}}, "v1")
	pushManifest(r, "evil/empty", ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[]}`), "v1")
	pushManifest(r, "evil/large", ocispec.MediaTypeImageIndex, mustJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{}, "x": strings.Repeat("\u202e<&\"", 100_000)}), "v1")
	for _, path := range []string{"/", "/images", "/images/evil/app", "/images/evil/app:v1", "/images/evil/shapes:v1", "/images/evil/empty:v1", "/images/evil/large:v1"} {
		body := wantPage(r, http.StatusOK, path)
		for _, not := range []string{"<script>alert", "<img", "\u202e", "\u2066", "\x1b", "\u200b", `href="javascript`} {
			if strings.Contains(body, not) {
				t.Errorf("%s has %q", path, not)
			}
		}
	}
	body := wantPage(r, http.StatusOK, "/images/evil/app:v1")
	for _, want := range []string{`\u202e`, `\u001b`, "more: <code>skopeo inspect", `<details class="long">`, "<bdi>javascript:alert(3)</bdi>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if body := wantPage(r, http.StatusOK, "/images/evil/config:v1"); !strings.Contains(body, "Its config is larger than 262 kB, so its history is not shown") {
		t.Errorf("a large config is not named: %s", body)
	}
	if open, closed := strings.Count(body, "<bdi>"), strings.Count(body, "</bdi>"); open != closed {
		t.Errorf("the page opens %d and closes %d isolated texts", open, closed)
	}
}

var links = regexp.MustCompile(`(?:href|src|action)="(/[^"]*)"`)

// A crawler comes to an end, and every address that a page has is answered.
func TestTheLinksOfPagesAreFinite(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	fillPages(r)
	seen, queue := map[string]bool{}, []string{"/"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		response, body := r.Do("GET", path, nil, "Accept", "text/html")
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d", path, response.StatusCode)
		}
		if len(seen) > 500 {
			t.Fatal("there are more links than a registry of a few repositories has")
		}
		if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
			continue
		}
		for _, found := range links.FindAllStringSubmatch(string(body), -1) {
			to, _, _ := strings.Cut(strings.ReplaceAll(found[1], "&amp;", "&"), "#")
			queue = append(queue, to)
		}
	}
	if len(seen) < 20 {
		t.Errorf("got %d links", len(seen))
	}
}

// Lists go on, and have each row once.
func TestListsOfPagesGoOn(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	for i := range 60 {
		r.PushImage("many/tags", fmt.Sprintf("v1.%d", i), registrytest.RandomBytes(10))
		r.PushImage(fmt.Sprintf("many/repo%02d", i), "v1", []byte("one"))
	}
	next := regexp.MustCompile(`href="([^"]*)" rel="next"`)
	row := regexp.MustCompile(`<td><a class="name" href="([^"]*)"`)
	for path, want := range map[string]int{
		"/images/many/tags": 60, "/images/many/tags?order=push": 60, "/images/many/tags?order=name": 60, "/images/many/tags?order=pull": 60,
		"/images": 61, "/images?order=push": 61, "/images?order=size": 61, "/images?order=pull": 61, "/images?q=repo": 60,
	} {
		var got []string
		for at, pages := path, 0; at != "" && pages < 5; pages++ {
			body := wantPage(r, http.StatusOK, at)
			for _, found := range row.FindAllStringSubmatch(body, -1) {
				got = append(got, found[1])
			}
			at = ""
			if found := next.FindStringSubmatch(body); found != nil {
				at, _, _ = strings.Cut(strings.ReplaceAll(found[1], "&amp;", "&"), "#")
			}
		}
		if slices.Sort(got); len(slices.Compact(got)) != want || len(got) != want {
			t.Errorf("%s: got %d rows, %d of them different, want %d", path, len(got), len(slices.Compact(got)), want)
		}
	}
}

// Looking at a mirror asks no upstream and counts no pull, whoever looks.
func TestPagesOfAMirrorAskNobody(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Config{})
	m, _ := registrytest.PutImage(t, u, "team/app", "v1", registrytest.RandomBytes(100))
	registrytest.PutImage(t, u, "team/other", "v1", registrytest.RandomBytes(100))
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll+"\n"+registrytest.Mirror("docker.io", u), "")
	r.Want(http.StatusOK, "GET", "/v2/docker.io/team/app/manifests/v1", nil)
	held := func() bool {
		response, _ := r.Do("GET", "/images/docker.io/team/app:v1", nil)
		return response.StatusCode == http.StatusOK
	}
	r.Eventually("the manifest is held", held)
	pulls := regexp.MustCompile(`<dt>Pulls</dt><dd>(\d+)</dd>`)
	r.Eventually("the pull is counted", func() bool {
		found := pulls.FindStringSubmatch(wantPage(r, http.StatusOK, "/images/docker.io/team/app:v1"))
		return found != nil
	})
	requests := len(u.Requests())
	for range 3 {
		for path, has := range map[string]string{
			"/": "Mirror", "/images?in=docker.io": "docker.io/team/app", "/images/docker.io/team/app": "Mirror of docker.io",
			"/images/docker.io/team/app:v1": m.String(), "/images/docker.io/team/app@" + m.String(): m.String(),
			"/images/docker.io/team/app:v1/-/history": "now",
		} {
			if body := wantPage(r, http.StatusOK, path); !strings.Contains(body, has) {
				t.Errorf("%s has no %q:\n%s", path, has, body)
			}
		}
		for _, path := range []string{"/images/docker.io/team/other", "/docker.io/team/other:v1", "/images/docker.io/team/app:v2"} {
			if body := wantPage(r, http.StatusNotFound, path); !strings.Contains(body, "pull brings it here") {
				t.Errorf("%s has %s", path, body)
			}
		}
	}
	if got := len(u.Requests()); got != requests {
		t.Errorf("pages made %d upstream requests", got-requests)
	}
}

// A site that stands for an upstream, takes no credentials, and on which nobody signs in, has pages.
func TestPagesOfASiteForAnUpstream(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Config{})
	registrytest.PutImage(t, u, "team/app", "v1", registrytest.RandomBytes(100))
	port := registrytest.FreePort(t)
	people := "url https://registry.test\nlocal_user erich " + registrytest.PasswordHash() + " friends\n"
	registrytest.Load(t, registrytest.CaddyfileWith(port, t.TempDir(), people+registrytest.AllowAll+"\n"+registrytest.Mirror("docker.io", u),
		"upstream docker.io\nread_only"))
	r := registrytest.At(t, port)
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
	r.Eventually("the image is shown", func() bool {
		response, _ := r.Do("GET", "/images/docker.io/team/app:v1", nil)
		return response.StatusCode == http.StatusOK
	})
	response, _ := r.Want(http.StatusFound, "GET", "/team/app:v1", nil, "Accept", "text/html")
	if got := response.Header.Get("Location"); got != "/images/docker.io/team/app:v1" {
		t.Errorf("a name of the upstream leads to %q", got)
	}
	body := wantPage(r, http.StatusOK, "/")
	for _, want := range []string{`href="/images?in=docker.io"`, `href="https://registry.test/login"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q:\n%s", want, body)
		}
	}
	r.Want(http.StatusNotFound, "GET", "/login", nil)
}

func TestTheStartPageOfAnEmptyRegistry(t *testing.T) {
	port := registrytest.FreePort(t)
	r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	body := wantPage(r, http.StatusOK, "/")
	for _, want := range []string{"docker login ", "docker tag ", "docker push "} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q: %s", want, body)
		}
	}
}
