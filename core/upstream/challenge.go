package upstream

import (
	"net/url"
	"strings"
)

// Bounds of a WWW-Authenticate header, which any host between us and the upstream
// may have written.
const (
	maxChallengeLength = 8 << 10
	maxChallenges      = 16
	maxChallengeParams = 16
)

// challenge is a registry's demand for authorization (RFC 9110, 11.6.1).
type challenge struct {
	scheme string // in lower case
	params map[string]string
}

// parseChallenges reads WWW-Authenticate headers. It leaves out unreadable ones.
func parseChallenges(headers []string) []challenge {
	var all []challenge
	for _, h := range headers {
		if len(h) > maxChallengeLength {
			continue
		}
		for s := (scanner{h}); len(all) < maxChallenges; {
			s.skip(" \t,")
			word := s.token()
			if word == "" {
				break
			}
			s.skip(" \t")
			if !s.take('=') {
				all = append(all, challenge{strings.ToLower(word), map[string]string{}})
				continue
			}
			s.skip(" \t")
			value, ok := s.value()
			if !ok || len(all) == 0 {
				// The padding of a token68, or a parameter without a scheme.
				s.until(',')
				continue
			}
			params := all[len(all)-1].params
			name := strings.ToLower(word)
			// The first value counts: a second realm may be an attack.
			if _, twice := params[name]; !twice && len(params) < maxChallengeParams {
				params[name] = value
			}
		}
	}
	return all
}

// scanner reads a header from its front.
type scanner struct{ rest string }

func (s *scanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

func (s *scanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) until(c byte) {
	if i := strings.IndexByte(s.rest, c); i >= 0 {
		s.rest = s.rest[i:]
		return
	}
	s.rest = ""
}

// token reads a token (RFC 9110, 5.6.2), or a token68 up to its padding.
func (s *scanner) token() string {
	i := 0
	for i < len(s.rest) && (isAlnum(s.rest[i]) || strings.IndexByte("!#$%&'*+-.^_`|~/", s.rest[i]) >= 0) {
		i++
	}
	word := s.rest[:i]
	s.rest = s.rest[i:]
	return word
}

// value reads a token or a quoted string.
func (s *scanner) value() (string, bool) {
	if !s.take('"') {
		v := s.token()
		return v, v != ""
	}
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i == len(s.rest) {
				return "", false
			}
		}
		b.WriteByte(s.rest[i])
	}
	return "", false
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// method is an upstream's authentication method: Basic, or a token from realm.
type method struct {
	realm   string // empty: Basic
	service string
	// scope is requested besides the repository's, as public.ecr.aws requires.
	scope string
}

// choose prefers the Bearer challenge to the Basic one. ok is false if there is
// neither.
func choose(all []challenge) (m method, ok bool) {
	for _, c := range all {
		switch c.scheme {
		case "bearer":
			if _, err := url.Parse(c.params["realm"]); err != nil || c.params["realm"] == "" {
				continue
			}
			m = method{realm: c.params["realm"], service: c.params["service"]}
			// A scope for another repository would use our credentials for
			// something that was not requested.
			if s := c.params["scope"]; !strings.Contains(s, "repository:") && !strings.Contains(s, "registry:") {
				m.scope = s
			}
			return m, true
		case "basic":
			ok = true
		}
	}
	return method{}, ok
}
