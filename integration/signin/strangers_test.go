package signin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/layout2"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

// strangeTypes are media types that make a browser run, style or draw what has them, or
// guess, and some that only look like a registry's.
var strangeTypes = []string{
	"text/html", "TEXT/HTML; charset=utf-7", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml",
	"application/rss+xml", "application/vnd.x+xml", "text/xsl", "text/javascript", "application/javascript",
	"application/x-javascript", "text/css", "text/plain", "application/pdf", "multipart/x-mixed-replace; boundary=x",
	"multipart/related", "message/rfc822", "application/json", "application/octet-stream", "*/*", "x",
	"application/vnd.x+json", "application/html+json", "application/ld+json", "text/html,application/vnd.x+json",
	"application/vnd.oci.image.manifest.v1+json,text/html", "application/vnd.x+json; a=\"text/html\"",
}

// runs reports whether browsers run or style content of a type, so that pages use it.
func runs(mediaType string) bool {
	for _, part := range []string{"html", "svg", "script", "css", "xsl"} {
		if strings.Contains(strings.ToLower(mediaType), part) {
			return true
		}
	}
	return false
}

// strange is content that does harm where a browser runs it. Everything that it loads is
// below /beside/mark/<id>/, and waited for by the page's load, so a visit that has ended
// has left its marks.
type strange struct{ id string }

func (s strange) mark(how string) string { return "/beside/mark/" + s.id + "/" + how }

// script leaves a mark from a page, a worker or a service worker. It has no double quotes, so
// that it fits into JSON.
func (s strange) script() string {
	return fmt.Sprintf(`if(self.XMLHttpRequest){var x=new XMLHttpRequest();x.open('GET','%s',false);x.send()}else{fetch('%s')};`,
		s.mark("script"), s.mark("worker")) +
		`fetch('/api/keys',{method:'POST',keepalive:true,headers:{'Content-Type':'application/json'},` +
		`body:JSON.stringify({name:'stolen',user:'evil',groups:['admins']})});if(!self.registration)postMessage(1);`
}

func (s strange) html() string {
	return fmt.Sprintf(`<!doctype html><body background='%s'><script>%s</script><img src='%s' onerror='%s'><link rel=stylesheet href='%s'>`+
		`<iframe src='%s'></iframe><object data='%s'></object><svg><image href='%s'/></svg><style>@import '%s'</style>`,
		s.mark("background"), s.script(), s.mark("img"), "fetch(`"+s.mark("onerror")+"`)", s.mark("link"),
		s.mark("frame"), s.mark("object"), s.mark("svg"), s.mark("import"))
}

func (s strange) svg() string {
	return fmt.Sprintf(`<svg xmlns='http://www.w3.org/2000/svg'><script>%s</script><image href='%s' width='9' height='9'/></svg>`,
		s.script(), s.mark("img"))
}

func (s strange) xhtml() string {
	return fmt.Sprintf(`<html xmlns='http://www.w3.org/1999/xhtml'><body><script>%s</script><img src='%s'/></body></html>`,
		s.script(), s.mark("img"))
}

func (s strange) xml() string {
	return fmt.Sprintf(`<?xml version='1.0'?><?xml-stylesheet type='text/css' href='%s'?><a><s xmlns='http://www.w3.org/1999/xhtml'>`+
		`<script>%s</script></s></a>`, s.mark("style"), s.script())
}

func (s strange) css() string { return fmt.Sprintf(`body{background:url('%s')}`, s.mark("background")) }

func (s strange) pdf() string {
	return fmt.Sprintf("%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.launchURL('%s'))>>>>endobj\n"+
		"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%%%EOF\n", s.mark("pdf"))
}

// bytes returns the content as blobs, by their kind.
func (s strange) bytes() map[string]string {
	return map[string]string{
		"html": s.html(), "svg": s.svg(), "xhtml": s.xhtml(), "xml": s.xml(),
		"js": s.script(), "css": s.css(), "pdf": s.pdf(),
	}
}

// manifest is a document with the content in a member, of a shape that is none.
func (s strange) manifest() []byte {
	return mustPlainJSON(map[string]any{"schemaVersion": 2, "x": s.html()})
}

// image returns a manifest with the shape of an image whose blobs are the content.
func (s strange) image(config, layer []byte) []byte {
	return mustPlainJSON(map[string]any{
		"schemaVersion": 2,
		"config":        map[string]any{"mediaType": "text/html", "digest": digest.FromBytes(config), "size": len(config)},
		"layers":        []any{map[string]any{"mediaType": "text/html", "digest": digest.FromBytes(layer), "size": len(layer)}},
		"annotations":   map[string]string{"x": s.html()},
	})
}

// mustPlainJSON does not escape < and >, as an attacker would not.
func mustPlainJSON(value any) []byte {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // plain values only
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// strangers are the addresses of content of strangers.
type strangers struct {
	t *testing.T
	// paths are opened; each begins with a slash.
	paths []string
	// used are those that a page beside the registry uses as script, style and frame, too.
	used []string
	ids  int
}

func (s *strangers) next() strange {
	s.ids++
	return strange{fmt.Sprint(s.ids)}
}

func (s *strangers) add(path string)  { s.paths = append(s.paths, path) }
func (s *strangers) both(path string) { s.add(path); s.used = append(s.used, path) }

// old writes content that older releases accepted: every type, private and in a mirror.
func (s *strangers) old(data string) {
	for _, tree := range []struct{ name, repo, prefix string }{
		{layout2.Private, "blumeops/old", ""},
		{layout2.Mirrors, "up.example/team/old", ""},
	} {
		w := layout2.New(s.t, data, tree.name)
		for i, mediaType := range strangeTypes {
			c := s.next()
			d := w.Manifest(tree.repo, fmt.Sprintf("t%d", i), mediaType, c.manifest())
			s.add("/v2/" + tree.repo + "/manifests/" + d.String())
			if !runs(mediaType) {
				continue
			}
			c = s.next()
			blob := []byte(c.html())
			w.Blob(tree.repo, blob)
			d = w.Manifest(tree.repo, fmt.Sprintf("i%d", i), mediaType, c.image(blob, blob))
			s.both("/v2/" + tree.repo + "/manifests/" + d.String())
		}
		for _, content := range s.next().bytes() {
			s.both("/v2/" + tree.repo + "/blobs/" + w.Blob(tree.repo, []byte(content)).String())
		}
	}
	s.add("/v2/blumeops/old/manifests/t0")
	s.add("/v2/blumeops/old/manifests/i0")
}

// upstream is a registry that sends its content with every strange type, as manifests of
// tags and as blobs.
func (s *strangers) upstream() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(w http.ResponseWriter, _ *http.Request) {})
	give := func(path, mediaType string, content []byte, d digest.Digest) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", d.String())
			w.Header().Set("Set-Cookie", "__Host-session=stranger; Path=/; Secure")
			w.Header().Set("Link", "<"+strange{"upstream"}.mark("link")+">; rel=stylesheet, <"+strange{"upstream"}.mark("preload")+">; rel=preload; as=script")
			w.Header().Set("Refresh", "0; url="+strange{"upstream"}.mark("refresh"))
			w.Header().Set("Content-Disposition", "inline")
			w.Write(content)
		})
	}
	for i, mediaType := range strangeTypes {
		c := s.next()
		forms := [][]byte{c.manifest(), c.image([]byte(c.html()), []byte(c.html())), []byte(c.html())}
		switch {
		case strings.Contains(mediaType, "svg"):
			forms[2] = []byte(c.svg())
		case strings.Contains(mediaType, "xhtml"):
			forms[2] = []byte(c.xhtml())
		case strings.Contains(mediaType, "xml"):
			forms[2] = []byte(c.xml())
		case strings.Contains(mediaType, "script"):
			forms[2] = []byte(c.script())
		}
		for n, content := range forms {
			tag := fmt.Sprintf("t%d-%d", i, n)
			path := "/v2/up.example/team/new/manifests/" + tag
			give("/v2/team/new/manifests/"+tag, mediaType, content, digest.FromBytes(content))
			switch {
			case n == 2 && runs(mediaType):
				s.both(path)
			case n != 1 || runs(mediaType):
				s.add(path)
			}
		}
		if !runs(mediaType) {
			continue
		}
		content := []byte(s.next().html())
		d := digest.FromBytes(content)
		give("/v2/team/new/blobs/"+d.String(), mediaType, content, d)
		s.add("/v2/up.example/team/new/blobs/" + d.String())
	}
	for _, content := range s.next().bytes() {
		d := digest.FromString(content)
		give("/v2/team/new/blobs/"+d.String(), "text/javascript", []byte(content), d)
		s.both("/v2/up.example/team/new/blobs/" + d.String())
	}
	// Lists and errors in the upstream's own words.
	c := s.next()
	subject := digest.FromString("subject")
	give("/v2/team/new/referrers/"+subject.String(), "text/html", mustPlainJSON(map[string]any{
		"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{map[string]any{
			"mediaType": "text/html", "digest": digest.FromString("x"), "size": 1, "artifactType": c.html(), "annotations": map[string]string{"x": c.html()},
		}},
	}), "")
	s.both("/v2/up.example/team/new/referrers/" + subject.String())
	give("/v2/team/new/tags/list", "text/html", mustPlainJSON(map[string]any{"name": c.html(), "tags": []string{"a", c.html()}}), "")
	s.both("/v2/up.example/team/new/tags/list")
	mux.HandleFunc("/v2/team/wrong/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, c.html())
	})
	s.add("/v2/up.example/team/wrong/manifests/v1")
	s.add("/v2/up.example/team/wrong/blobs/" + subject.String())
	s.add("/v2/up.example/team/wrong/tags/list")
	return mux
}

// push pushes as CI does, with every type, and requires that all but manifest types are
// refused.
func (s *strangers) push(w *watch) {
	t := s.t
	secret, _ := w.Key(t, "ci", "artifact-workloads")
	ci := client.New(w.URL).Login("ci", secret)
	t.Cleanup(ci.Close)
	content := s.next().bytes()
	var digests []digest.Digest
	for _, kind := range []string{"html", "svg", "xhtml", "xml", "js", "css", "pdf"} {
		d, err := ci.PushBlob(t.Context(), "blumeops/new", []byte(content[kind]))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
		s.both("/v2/blumeops/new/blobs/" + d.String())
	}
	blob := []byte(content["html"])
	for i, mediaType := range strangeTypes {
		for n, body := range [][]byte{s.next().manifest(), s.next().image(blob, blob)} {
			tag := fmt.Sprintf("t%d-%d", i, n)
			err := ci.PutManifest(t.Context(), "blumeops/new", tag, mediaType, body)
			ours := strings.HasPrefix(mediaType, "application/vnd.x+json") || mediaType == "application/json" ||
				strings.HasPrefix(mediaType, "application/html+json") || mediaType == "application/ld+json" ||
				mediaType == "application/octet-stream" || mediaType == "*/*"
			if err == nil && !ours {
				t.Errorf("a push of a manifest as %q is taken, want 400", mediaType)
			}
			if n == 0 || runs(mediaType) {
				s.add("/v2/blumeops/new/manifests/" + tag)
			}
		}
	}
	// An artifact and its referrer with markup in all that a list repeats.
	c := s.next()
	image := mustPlainJSON(map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": "text/html",
		"config":      map[string]any{"mediaType": c.html(), "digest": digests[0], "size": len(blob)},
		"layers":      []any{},
		"annotations": map[string]string{c.html(): c.html()},
		"subject":     map[string]any{"mediaType": ociManifest, "digest": digest.FromString("s"), "size": 1},
	})
	if err := ci.PutManifest(t.Context(), "blumeops/new", "artifact", ociManifest, image); err != nil {
		t.Errorf("push of an artifact: %v", err)
	}
	s.both("/v2/blumeops/new/manifests/artifact")
	s.both("/v2/blumeops/new/referrers/" + digest.FromString("s").String())
	s.add("/v2/blumeops/new/referrers/" + digest.FromString("s").String() + "?artifactType=" + url.QueryEscape(c.html()))
}

// errors returns answers that repeat parts of the request, and those of /token and of uploads.
func (s *strangers) errors() {
	c := s.next()
	markup, escaped := url.QueryEscape(c.html()), url.PathEscape("<script>"+strange{"path"}.script()+"</script>")
	for _, path := range []string{
		"/v2/", "/v2", "/v2/_catalog", "/v2/_catalog?n=" + markup, "/v2/_catalog?last=" + markup,
		"/v2/blumeops/new/tags/list?last=" + markup, "/v2/blumeops/new/tags/list?n=" + markup,
		"/v2/" + escaped, "/v2/" + escaped + "/manifests/v1", "/v2/blumeops/new/manifests/" + escaped,
		"/v2/blumeops/new/blobs/" + escaped, "/v2/blumeops/new/blobs/sha256:" + escaped, "/v2/blumeops/new/" + escaped,
		"/v2/blumeops/new/blobs/uploads/" + escaped, "/v2/blumeops/new/blobs/uploads/", "/v2/blumeops/new/referrers/" + escaped,
		"/v2/blumeops/new/manifests/v1?ns=" + markup, "/v2/blumeops/new/manifests/v1?ns=up.example",
		"/v2/absent/repo/manifests/" + strings.Repeat("a", 128), "/v2/up.example/absent/manifests/v1?" + markup,
		"/token", "/token?service=" + markup, "/token?scope=" + markup, "/token?account=" + markup + "&service=x&scope=repository:a:pull",
		"/token?service=127.0.0.1&scope=repository:" + markup + ":pull",
	} {
		s.add(path)
	}
}

// TestContentOfStrangersIsInert opens, in an administrator's signed-in browser, everything that
// other people can put under the registry's origin. None of it runs, causes a request or makes
// a key.
func TestContentOfStrangersIsInert(t *testing.T) {
	s := &strangers{t: t}
	data := filepath.Join(t.TempDir(), "data")
	s.old(data)
	w := newWatch(t, data, s.upstream())
	s.push(w)
	s.errors()

	// Signing in leads to the address in the link.
	for _, path := range []string{"/v2/blumeops/old/manifests/t0", "/v2/blumeops/new/manifests/t0-0", "/v2/up.example/team/new/manifests/t0-2"} {
		w.signIn(path)
	}
	noticed(t, w)

	for _, path := range s.paths {
		got := w.visit(w.URL + path)
		if !slices.ContainsFunc(got, func(a asked) bool { return sameURI(a.Request.URI, path) && a.session() }) {
			t.Errorf("the browser that visits %s is not signed in: %v", path, got)
		}
	}
	for _, path := range s.used {
		w.browser.do("use "+path, chromedp.Navigate(w.URL+"/beside/use?address="+url.QueryEscape(path)),
			chromedp.WaitReady(chromedp.CSS("h1")))
	}
	for _, path := range []string{"/v2/blumeops/new/blobs/uploads/", "/v2/blumeops/new/blobs/uploads/?digest=<script>", "/token", "/token?service=<script>"} {
		w.browser.do("post to "+path, chromedp.Navigate(w.URL+"/beside/post?address="+url.QueryEscape(path)))
		w.until("POST", path)
	}
	w.visit(w.URL + "/beside/end")

	w.seen = 0
	bare := 0 // answers without protection
	for _, a := range w.read() {
		if strings.HasPrefix(a.Request.URI, "/beside/mark/") && !strings.HasPrefix(a.Request.URI, control.mark("")) ||
			strings.HasPrefix(a.Request.URI, "/api/") {
			t.Errorf("content of a stranger made the browser request %v", a)
		}
		path, _, _ := strings.Cut(a.Request.URI, "?")
		ours := path == "/v2" || strings.HasPrefix(path, "/v2/") || path == "/token"
		if ours && (a.Answer.Get("X-Content-Type-Options") != "nosniff" ||
			a.Answer.Get("Content-Security-Policy") != "sandbox; default-src 'none'") {
			if bare++; bare <= 10 {
				t.Errorf("%v has %q and %q, want nosniff and a sandbox without sources", a,
					a.Answer["X-Content-Type-Options"], a.Answer["Content-Security-Policy"])
			}
		}
	}
	if bare > 0 {
		t.Errorf("%d answers below /v2/ and /token have no protection", bare)
	}
	out, err := w.Command(t.Context(), t, "registry", "key", "list", "--storage", w.Data).CombinedOutput()
	if err != nil {
		t.Fatalf("key list: %v: %s", err, out)
	}
	if strings.Contains(string(out), "stolen") {
		t.Errorf("a script made a key: %s", out)
	}
}

// control is the content that is meant to run.
var control = strange{"control"}

// noticed shows that the record notices all that the content would do if it were run: it
// visits the same content as a site would send it that protects nothing.
func noticed(t *testing.T, w *watch) {
	t.Helper()
	harmless := func(text string) string { return strings.ReplaceAll(text, "/api/keys", "/beside/keys") }
	at := func(mediaType, content string) string {
		return w.URL + "/beside/strange?" + url.Values{"type": {mediaType}, "content": {harmless(content)}}.Encode()
	}
	c := control
	for _, row := range []struct {
		mediaType, content string
		marks              []string
	}{
		{"text/html", c.html(), []string{"script", "img", "link", "frame", "object", "svg", "import", "background"}},
		{"image/svg+xml", c.svg(), []string{"script", "img"}},
		{"application/xhtml+xml", c.xhtml(), []string{"script", "img"}},
		{"text/xml", c.xml(), []string{"script", "style"}},
	} {
		requires(t, w, w.visit(at(row.mediaType, row.content)), row.mediaType, c, row.marks...)
	}
	for _, row := range []struct {
		mediaType, content string
		marks              []string
	}{
		{"text/javascript", c.script(), []string{"script", "worker"}},
		{"text/css", c.css(), []string{"background"}},
		{"text/html", c.html(), []string{"script"}},
	} {
		address := w.URL + "/beside/use?address=" + url.QueryEscape(at(row.mediaType, row.content))
		w.browser.do("use "+row.mediaType, chromedp.Navigate(address), chromedp.WaitReady(chromedp.CSS("h1")))
		requires(t, w, w.until("GET", strings.TrimPrefix(address, w.URL)), "use of "+row.mediaType, c, row.marks...)
	}
}

// requires waits until each mark was requested with the session's cookie. A request is in the
// record when its answer has ended, so a page may be there before its parts.
func requires(t *testing.T, w *watch, all []asked, what string, c strange, marks ...string) {
	t.Helper()
	for _, mark := range marks {
		left := func(a asked) bool { return a.Request.URI == c.mark(mark) && a.session() }
		if err := server.Eventually(patience, func() (bool, error) {
			all = append(all, w.read()...)
			return slices.ContainsFunc(all, left), nil
		}); err != nil {
			t.Fatalf("%s of a site without protection did not leave the mark %q with the session, so this test would notice nothing: %v", what, mark, all)
		}
	}
}
