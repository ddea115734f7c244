package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/design"
)

// size is a number of bytes as docker shows it, in decimal units. Negative: not known.
func size(n int64) string {
	if n < 0 {
		return "–"
	}
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	switch {
	case unit == 0:
		return fmt.Sprintf("%d B", n)
	case value < 9.995:
		return fmt.Sprintf("%.2f %s", value, units[unit])
	case value < 99.95:
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.0f %s", value, units[unit])
}

// These are words that all pages share.
var (
	count  = design.Count
	plural = design.Plural
	when   = design.When
	moment = design.Moment
)

// short is the first twelve digits of a digest.
func short(d digest.Digest) string {
	_, digits, _ := strings.Cut(string(d), ":")
	return digits[:min(12, len(digits))]
}

// The addresses of pages. Names, tags and digests have no character that an address would escape.

func repositoryPath(repo string) string { return "/images/" + repo }

func tagPath(repo, tag string) string { return "/images/" + repo + ":" + tag }

func digestPath(repo string, d digest.Digest) string { return "/images/" + repo + "@" + string(d) }

func historyPath(repo, tag string) string { return tagPath(repo, tag) + historySuffix }

// deletePath is where the deletion of a tag or of an image is reviewed, or that of the repository if
// both are empty.
func deletePath(repo, tag string, d digest.Digest) string {
	values := url.Values{}
	if tag != "" {
		values.Set("tag", tag)
	} else if d != "" {
		values.Set("image", string(d))
	}
	if len(values) == 0 {
		return repositoryPath(repo) + deleteSuffix
	}
	return repositoryPath(repo) + deleteSuffix + "?" + values.Encode()
}

// backPath is where a tag can be pointed back to what it named.
func backPath(repo, tag string, to digest.Digest) string {
	return tagPath(repo, tag) + backSuffix + "?" + url.Values{"to": {string(to)}}.Encode()
}

// offeredPath is where the tags are that the upstream of a mirror has.
func offeredPath(repo string) string { return repositoryPath(repo) + offeredSuffix }

const (
	historySuffix = "/-/history"
	deleteSuffix  = "/-/delete"
	backSuffix    = "/-/back"
	fetchSuffix   = "/-/fetch"
	offeredSuffix = "/-/upstream"
)

// Acts reports whether a path is one of the pages that do something when a form is sent.
func Acts(path string) bool {
	acts := func(suffix string) bool { return strings.HasSuffix(path, suffix) }
	return strings.HasPrefix(path, "/images/") && slices.ContainsFunc([]string{deleteSuffix, backSuffix, fetchSuffix, offeredSuffix}, acts)
}

// filePath is where a file that a manifest names, or the manifest, can be downloaded.
func filePath(repo string, manifest, d digest.Digest) string {
	return digestPath(repo, manifest) + fileInfix + string(d)
}

const fileInfix = "/-/file/"

// safeURL parses an address that is safe to follow; nil: it is not.
func safeURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return nil
	}
	return u
}

// link is a link of an image to the web, or its text if it is not one that is safe to follow: with
// http or https, a host, and no user who would look like one.
func link(s string) template.HTML {
	u := safeURL(s)
	if u == nil {
		return line(s)
	}
	shown := strings.TrimSuffix(u.Host+u.EscapedPath(), "/")
	return template.HTML(`<a href="`+template.HTMLEscapeString(u.String())+`" rel="noreferrer nofollow">`) + line(shown) + "</a>"
}

// revisions are what a commit of git is called, whole or in short.
var revisions = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// commit is the address of a commit at the forge where the source of an image is, or empty. Forgejo,
// Gitea, GitHub and GitLab have commits there.
func commit(source, revision string) string {
	u := safeURL(source)
	if u == nil || !revisions.MatchString(revision) || u.RawQuery != "" || u.Fragment != "" {
		return ""
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), ".git")
	if strings.Count(u.Path, "/") < 2 { // owner and repository
		return ""
	}
	return u.JoinPath("commit", revision).String()
}

// crumb is a step on the way to a page.
type crumb struct{ Name, Address string }

// crumbs lead to a repository. The first component is a list.
func crumbs(repo string, whole bool) []crumb {
	way := []crumb{{"Images", "/images"}}
	first, rest, more := strings.Cut(repo, "/")
	if more {
		way = append(way, crumb{first, "/images?" + url.Values{"in": {first}}.Encode()})
	} else {
		rest = repo
	}
	if whole {
		way = append(way, crumb{rest, repositoryPath(repo)})
	}
	return way
}
