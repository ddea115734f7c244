package oidclogin

import (
	"net/url"
	"path"
	"strings"
)

// maxReturn bounds a path that travels in a cookie.
const maxReturn = 200

// ReturnPath returns the path after a sign-in: wanted, if that is only a path of this site,
// otherwise the root. Texts that a browser would read as another host, or as a script, are
// refused: //host, /\host, and everything with a scheme, a query, an escape or a control
// character.
func ReturnPath(wanted string) string {
	if len(wanted) > maxReturn || !strings.HasPrefix(wanted, "/") || path.Clean(wanted) != wanted {
		return "/"
	}
	for _, c := range []byte(wanted) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-_.:@", c) >= 0:
		default:
			return "/"
		}
	}
	if u, err := url.Parse(wanted); err != nil || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	return wanted
}
