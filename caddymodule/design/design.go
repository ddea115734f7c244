// Package design has what all pages share: the layout with its header, the style sheet, two
// fonts, a script and an icon. It knows neither images nor people.
//
// Assets are below Prefix, with a hash of their content in the name, so that browsers keep them
// for ever and never show a page with the style of another version.
//
//	pages := design.Templates(files, "assets/*.html", funcs)
//	if design.ServeAsset(w, r) { return }
//	design.Protect(w.Header(), signedIn)
//	pages.ExecuteTemplate(w, "start.html", …) // begins with {{template "top" .Frame}}
package design

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var files embed.FS

// Prefix begins the paths of the assets. No component of a repository's name begins with "-".
const Prefix = "/-/"

// Frame is what the layout shows around a page.
type Frame struct {
	// Title is the page's, before the host.
	Title string
	// Host is the name by which the browser called the registry.
	Host string
	// User is signed in. Empty: nobody.
	User string
	// SignIn is where a visitor signs in. Empty: nobody can.
	SignIn string
	// Images: this site shows images.
	Images bool
	// Mirrors, Activity, Storage: it has these pages for this visitor.
	Mirrors, Activity, Storage bool
	// Here is the entry of the navigation to which the page belongs: "images", "mirrors", "activity",
	// "storage", "keys" or none.
	Here string
	// Query is the text in the search field.
	Query string
	// Narrow is for pages of text and forms.
	Narrow bool
}

// asset is a file for browsers.
type asset struct {
	name, mediaType string
	data            []byte
}

// assets are the files by their paths, and paths are their paths by name.
var assets, paths = load()

func load() (map[string]asset, map[string]string) {
	assets, paths := map[string]asset{}, map[string]string{}
	add := func(name, mediaType string, change func(string) string) {
		data, err := files.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		if change != nil {
			data = []byte(change(string(data)))
		}
		sum, kind := sha256.Sum256(data), path.Ext(name)
		at := Prefix + strings.TrimSuffix(name, kind) + "." + hex.EncodeToString(sum[:6]) + kind
		assets[at], paths[name] = asset{name, mediaType, data}, at
	}
	add("sans.woff2", "font/woff2", nil)
	add("mono.woff2", "font/woff2", nil)
	add("icon.svg", "image/svg+xml", nil)
	add("page.js", "text/javascript; charset=utf-8", nil)
	add("style.css", "text/css; charset=utf-8", func(style string) string {
		for _, font := range []string{"sans.woff2", "mono.woff2"} {
			style = strings.ReplaceAll(style, "url("+font+")", "url("+path.Base(paths[font])+")")
		}
		return style
	})
	return assets, paths
}

// AssetPath returns the path of an asset by its name, as "style.css".
func AssetPath(name string) string { return paths[name] }

// Templates returns the templates of files that match pattern, with the layout's "top" and
// "bottom" for a Frame.
func Templates(from fs.FS, pattern string, funcs template.FuncMap) *template.Template {
	all := template.FuncMap{"asset": AssetPath}
	maps.Copy(all, funcs)
	return template.Must(template.Must(template.New("").Funcs(all).ParseFS(files, "assets/layout.html")).ParseFS(from, pattern))
}

// policy is the pages' Content-Security-Policy. Styles and scripts are files of this package, and
// nothing else is loaded. Content that was pushed is served by the same host, but with
// octet-stream or JSON as its type and nosniff, so it is neither style nor script.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'none'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Protect sets the header fields that every page has. A page for somebody who is signed in is
// kept nowhere.
func Protect(h http.Header, signedIn bool) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex")
	// A Referer would carry the callback's code, and no-referrer would make Chromium
	// send `Origin: null` with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Vary", "Cookie")
	if signedIn {
		h.Set("Cache-Control", "no-store")
	} else {
		h.Set("Cache-Control", "private, no-cache")
	}
}

// ServeAsset answers a request for an asset, and reports whether it was one.
func ServeAsset(w http.ResponseWriter, r *http.Request) bool {
	file, ok := assets[r.URL.Path]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", file.mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if file.name == "icon.svg" { // it may be opened as a document, and has a style element
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	}
	if r.Method != http.MethodHead {
		w.Write(file.data) // an error is the browser's having left
	}
	return true
}
