package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
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

// count is a number with a comma before each three digits.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is a number with a noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// when is a time as people say it: how long ago within a week, else the day.
func when(now, t time.Time) template.HTML {
	if t.IsZero() || t.Unix() <= 0 {
		return "–"
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), ago(now, t)))
}

func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < -time.Minute || d >= 7*24*time.Hour:
		return t.Format(time.DateOnly)
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(int64(d/time.Minute), "minute", "minutes") + " ago"
	case d < 24*time.Hour:
		return plural(int64(d/time.Hour), "hour", "hours") + " ago"
	case d < 48*time.Hour:
		return "yesterday"
	}
	return plural(int64(d/(24*time.Hour)), "day", "days") + " ago"
}

// moment is a time in full.
func moment(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04 UTC")))
}

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

const historySuffix = "/-/history"

// filePath is where a file that a manifest names, or the manifest, can be downloaded.
func filePath(repo string, manifest, d digest.Digest) string {
	return digestPath(repo, manifest) + fileInfix + string(d)
}

const fileInfix = "/-/file/"

// link is a link of an image to the web, or its text if it is not one that is safe to follow: with
// http or https, a host, and no user who would look like one.
func link(s string) template.HTML {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return line(s)
	}
	shown := strings.TrimSuffix(u.Host+u.EscapedPath(), "/")
	return template.HTML(`<a href="`+template.HTMLEscapeString(u.String())+`" rel="noreferrer nofollow">`) + line(shown) + "</a>"
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
