package upstream

import (
	"net/url"
	"strings"
)

// maxLinks bounds the links that are read from one answer: there is only one next page.
const maxLinks = 64

// link is one of a Link field (RFC 8288, 3).
type link struct {
	target string
	rel    []string // in lower case; relation types are compared without case
}

// parseLinks reads Link fields. A target that cannot be read ends its field.
func parseLinks(fields []string) []link {
	var all []link
	for _, field := range fields {
		for s := (scanner{field}); len(all) < maxLinks; {
			s.skip(" \t,")
			if !s.take('<') {
				break
			}
			end := strings.IndexByte(s.rest, '>')
			if end < 0 {
				break
			}
			l := link{target: strings.TrimSpace(s.rest[:end])}
			s.rest = s.rest[end+1:]
			if about := s.linkParams(&l); !about {
				all = append(all, l)
			}
		}
	}
	return all
}

// linkParams reads the parameters behind a target, up to the next link. about reports
// that the link is about a resource other than the requested one (its anchor).
func (s *scanner) linkParams(l *link) (about bool) {
	var seen bool
	for {
		s.skip(" \t")
		if !s.take(';') {
			return about
		}
		s.skip(" \t")
		name := strings.ToLower(s.token())
		s.skip(" \t")
		var value string
		if s.take('=') {
			s.skip(" \t")
			value, _ = s.value() // an unreadable link is not a next page
		}
		// Skip to the next parameter or link, over characters that a token may not have.
		if i := strings.IndexAny(s.rest, ";,"); i >= 0 {
			s.rest = s.rest[i:]
		} else {
			s.rest = ""
		}
		switch {
		case name == "anchor":
			about = true
		case name == "rel" && !seen: // of several the first counts (RFC 8288, 3.3)
			seen, l.rel = true, strings.Fields(strings.ToLower(value))
		}
	}
}

// nextLink is the target of the link to the next page, or empty.
func nextLink(fields []string) string {
	for _, l := range parseLinks(fields) {
		for _, rel := range l.rel {
			if rel == "next" {
				return l.target
			}
		}
	}
	return ""
}

// next reads the Link to the next page, as a path below the repository. Registries
// behind a proxy write their inner scheme, host and prefix into it, so only its query is
// used, and the next page is requested from the same place as this one. Its path must
// end like that of the same list.
func (r *reply) next(repo, path string) (string, error) {
	target := nextLink(r.Header.Values("Link"))
	if target == "" {
		return "", nil
	}
	list, query, _ := strings.Cut(path, "?")
	from, err := r.base.Parse("/v2/" + repo + "/" + path)
	if err == nil && r.Request != nil && r.Request.URL != nil {
		from = r.Request.URL // after redirects
	}
	var u *url.URL
	if err == nil {
		u, err = from.Parse(target)
	}
	if err != nil || u.RawQuery == "" || u.Path != from.Path && !strings.HasSuffix(u.Path, "/"+repo+"/"+list) {
		return "", r.fail(ErrCorrupt, "the link to the next page leads elsewhere")
	}
	if u.RawQuery == query {
		return "", r.fail(ErrCorrupt, "the link to the next page leads back")
	}
	return list + "?" + u.RawQuery, nil
}
