package pages

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/design"
	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// maxPage bounds a page in bytes.
const maxPage = 100_000

// Site is the pages for one visitor of one site. It is made for a request.
type Site struct {
	// Registry does what the visitor may do, over all names, and Private over those that no
	// mirror has.
	Registry, Private core.Registry
	// Canonical returns the name of a repository here for one that a client writes, and the
	// mirror that has it, or empty. It is false where nobody claims the name.
	Canonical func(name string) (repo, mirror string, ok bool)
	// Mirrors are the mirrors in which the visitor may read something.
	Mirrors []string
	// View shows mirrors, activity and storage. nil: there are no such pages.
	View *overview.Viewer
	// Who identifies the visitor.
	Who policies.Identity
	// Host is the registry as the visitor calls it, with the port.
	Host string
	// Plain: the site is plain HTTP.
	Plain bool
	// SignIn is where a visitor can sign in. Empty: nowhere.
	SignIn string
	// Rights returns what the visitor may do in a repository, and why.
	Rights func(repo string) []Right
	// Refused records that the visitor may not do something in a repository. nil: nobody is told.
	Refused func(repo string, action policies.Action, err error)
	// Untagged is how long images without a tag are kept in repositories that are not of a
	// mirror. Not positive: until somebody deletes them.
	Untagged time.Duration
	// Cursors hide where lists go on.
	Cursors places
	Log     *slog.Logger

	now time.Time
}

// LoginPath is where people sign in.
const LoginPath = "/login"

//go:embed templates
var files embed.FS

var templates = design.Templates(files, "templates/*.html", template.FuncMap{
	"line": line, "size": size, "count": count, "plural": plural, "when": when, "moment": moment, "link": link,
	"clock": clock, "len64u": func(n uint64) int64 { return int64(n) },
	"hour":  func(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) },
	"short": short, "repository": repositoryPath, "tag": tagPath, "digest": digestPath, "history": historyPath, "file": filePath,
	"delete": deletePath, "back": backPath, "offered": offeredPath, "rightName": rightName, "kind": kindOf,
	"len64": func(n int) int64 { return int64(n) }, "spark": sparkOf, "pullsSince": pullsSince,
	"texts": func(name string, rows table, inspect string) any {
		return titled{name, rows, inspect, rows.Total() <= openRows}
	},
})

// openRows is up to how many rows a table is open.
const openRows = 8

// titled is a table of an image's texts with its heading, and the line that shows all of them.
type titled struct {
	Name    string
	Table   table
	Inspect string
	Open    bool
}

// Serves reports whether a path is one of the pages, whatever the registry holds.
func Serves(path string) bool {
	known := []string{"/", "/images", MirrorsPath, ActivityPath, "/home", "/explore", "/robots.txt", "/favicon.ico"}
	return slices.Contains(known, path) || strings.HasPrefix(path, "/images/") ||
		strings.HasPrefix(path, MirrorsPath+"/") || strings.HasPrefix(path, "/image/")
}

// WantsPage reports whether a browser asks for a page by opening an address.
func WantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// frame is what every page has beside its own.
type frame struct {
	design.Frame
	Now time.Time
	Who policies.Identity
	// Crumbs lead to the page.
	Crumbs []crumb
	// Building says that the index is not whole, and how far it is.
	Building string
}

func (s *Site) frame(ctx context.Context, title string, way ...crumb) frame {
	f := frame{
		Frame: design.Frame{Title: title, Host: s.Host, User: s.Who.User, SignIn: s.SignIn, Images: true, Here: "images"},
		Now:   s.now, Who: s.Who, Crumbs: way,
	}
	if s.View != nil {
		f.Mirrors, f.Activity, f.Storage = len(s.Mirrors) > 0, true, s.View.Admin()
	}
	state, err := s.Registry.CatalogState(ctx)
	switch {
	case err != nil || state.Whole:
	case state.Manifests > 0:
		f.Building = count(state.Described) + " of about " + plural(state.Manifests, "image is", "images are") + " described."
	default:
		f.Building = "Not all images are described yet."
	}
	return f
}

// ServeHTTP answers with a page.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.now = time.Now()
	design.Protect(w.Header(), !s.Who.Anonymous())
	if r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Method != http.MethodPost || !Acts(r.URL.Path)) {
		w.Header().Set("Allow", "GET, HEAD")
		if Acts(r.URL.Path) {
			w.Header().Set("Allow", "GET, HEAD, POST")
		}
		s.fail(w, r, http.StatusMethodNotAllowed, "This page is only to be looked at", "The address is right, but not what was to be done with it.")
		return
	}
	r = r.WithContext(core.WithLook(r.Context()))
	path := r.URL.Path
	switch rest, below := strings.CutPrefix(path, "/images/"); {
	case path == "/":
		s.start(w, r)
	case path == "/images":
		s.list(w, r)
	case path == "/images/":
		http.Redirect(w, r, "/images", http.StatusFound)
	case below:
		s.named(w, r, rest)
	case s.View != nil && s.about(w, r, path):
	case path == "/robots.txt":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.send(w, r, http.StatusOK, []byte("User-agent: *\nDisallow: /\n"))
	case path == "/favicon.ico":
		http.Redirect(w, r, design.AssetPath("icon.svg"), http.StatusFound)
	case path == "/home", path == "/explore": // zot's pages
		http.Redirect(w, r, "/", http.StatusMovedPermanently)
	case strings.HasPrefix(path, "/image/"):
		s.zots(w, r, strings.TrimPrefix(path, "/image/"))
	default:
		s.pasted(w, r, strings.TrimPrefix(path, "/"))
	}
}

// about answers with a page about the registry itself, if path is one that the visitor may see. It
// reports whether it did: for others the path is like any other.
func (s *Site) about(w http.ResponseWriter, r *http.Request, path string) bool {
	name, one := strings.CutPrefix(path, MirrorsPath+"/")
	switch {
	case path == MirrorsPath:
		s.mirrors(w, r)
	case one && slices.Contains(s.Mirrors, name):
		s.oneMirror(w, r, name)
	case path == ActivityPath:
		s.activity(w, r)
	case path == StoragePath && s.View.Admin():
		s.storage(w, r)
	default:
		return false
	}
	return true
}

// reference is a repository, and perhaps an image in it.
type reference struct {
	repo string
	core.Reference
}

// path is the address of its page.
func (f reference) path() string {
	switch {
	case f.Digest != "":
		return digestPath(f.repo, f.Digest)
	case f.Tag != "":
		return tagPath(f.repo, f.Tag)
	}
	return repositoryPath(f.repo)
}

// parse reads name[:tag|@digest], as clients write it. Errors: those of core's parsers,
// core.ErrNameUnknown for a name that nobody claims.
func (s *Site) parse(text string) (reference, error) {
	var f reference
	name, tail, found := strings.Cut(text, "@")
	var err error
	if found {
		f.Digest, err = core.ParseDigest(tail)
		name, _, _ = strings.Cut(name, ":") // of both the digest counts
	} else if at := strings.LastIndexByte(text, ':'); at > strings.LastIndexByte(text, '/') {
		name = text[:at]
		f.Tag, err = core.ParseTag(text[at+1:])
	}
	if err != nil {
		return f, err
	}
	if name, err = core.ParseName(name); err != nil {
		return f, err
	}
	repo, _, claimed := s.Canonical(name)
	if !claimed {
		return f, core.ErrNameUnknown
	}
	f.repo, err = core.ParseName(repo)
	return f, err
}

// owner returns the mirror that has a repository, or empty. It is false for a name that is not one
// of this site, and by which nothing can be pulled here.
func (s *Site) owner(repo string) (mirror string, ok bool) {
	if repo == "" {
		return "", false
	}
	canonical, mirror, ok := s.Canonical(repo)
	return mirror, ok && canonical == repo
}

// named answers for what stands below /images/.
func (s *Site) named(w http.ResponseWriter, r *http.Request, rest string) {
	rest, suffix := cutSuffix(rest)
	rest, kept, filed := strings.Cut(rest, fileInfix)
	f, err := s.parse(rest)
	switch {
	case err != nil:
		s.broken(w, r, f, err)
	case (suffix == historySuffix || suffix == backSuffix) && f.Tag == "",
		(suffix == deleteSuffix || suffix == offeredSuffix) && f.Reference != core.Reference{},
		suffix == fetchSuffix && f.Reference == core.Reference{}, filed && (suffix != "" || f.Digest == ""):
		s.broken(w, r, f, core.ErrManifestUnknown)
	case f.path() != "/images/"+rest: // another spelling
		to := url.URL{Path: f.path() + suffix, RawQuery: r.URL.RawQuery}
		if filed {
			to.Path += fileInfix + kept
		}
		http.Redirect(w, r, to.String(), http.StatusFound)
	case suffix == historySuffix:
		s.history(w, r, f)
	case suffix == backSuffix:
		s.back(w, r, f)
	case suffix == deleteSuffix:
		s.delete(w, r, f)
	case suffix == fetchSuffix:
		s.fetch(w, r, f)
	case suffix == offeredSuffix:
		s.offered(w, r, f)
	case filed:
		s.download(w, r, f, kept)
	case f.Reference == core.Reference{}:
		s.repository(w, r, f)
	default:
		s.image(w, r, f)
	}
}

// cutSuffix divides what stands below /images/ into a name and what is to be seen of it.
func cutSuffix(rest string) (name, suffix string) {
	for _, suffix := range []string{historySuffix, backSuffix, deleteSuffix, fetchSuffix, offeredSuffix} {
		if name, found := strings.CutSuffix(rest, suffix); found {
			return name, suffix
		}
	}
	return rest, ""
}

// zots leads from an address of zot's pages to ours: image/<name>, image/<name>/tag/<tag>. zot
// escapes the slashes of names.
func (s *Site) zots(w http.ResponseWriter, r *http.Request, rest string) {
	name, tag, tagged := strings.Cut(rest, "/tag/")
	if tagged {
		name += ":" + tag
	}
	f, err := s.parse(name)
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	http.Redirect(w, r, f.path(), http.StatusMovedPermanently)
}

// pasted leads from the name of an image, as clients write it, to its page.
func (s *Site) pasted(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.parse(name)
	if err == nil {
		err = s.holds(r.Context(), f)
	}
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	http.Redirect(w, r, f.path(), http.StatusFound)
}

// holds returns nil if the visitor may see what f names.
func (s *Site) holds(ctx context.Context, f reference) (err error) {
	switch {
	case f.Digest != "":
		_, err = s.Registry.ImageRow(ctx, f.repo, f.Digest)
	case f.Tag != "":
		_, err = s.Registry.TagRow(ctx, f.repo, f.Tag)
	default:
		_, err = s.Registry.RepositoryRow(ctx, f.repo)
	}
	return err
}

// render sends a page.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, data any, out *bytes.Buffer) {
	s.compose(name, data, out)
	s.show(w, r, status, out)
}

// compose writes a page to out, and reports whether it could. If not, out is empty.
func (s *Site) compose(name string, data any, out *bytes.Buffer) bool {
	err := templates.ExecuteTemplate(out, name+".html", data)
	if err != nil {
		s.Log.Error("page was not written", "page", name, "error", err)
		out.Reset()
	}
	return err == nil
}

// show sends what compose has written.
func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, out *bytes.Buffer) {
	if out.Len() == 0 {
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	s.send(w, r, status, out.Bytes())
}

func (s *Site) send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	if s.View != nil && s.View.Admin() { // how long it takes says something about what others do
		took := float64(time.Since(s.now).Microseconds()) / 1000
		w.Header().Set("Server-Timing", "page;dur="+strconv.FormatFloat(took, 'f', 1, 64))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) // an error is the browser's having left
	}
}
