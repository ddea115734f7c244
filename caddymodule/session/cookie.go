package session

import (
	"net/http"
	"time"
)

// hostPrefix makes browsers keep a cookie only for this host, with Secure and for every path: no
// other site of the domain can set one. Plain loopback has no TLS, so its cookies have neither.
const hostPrefix = "__Host-"

// name is a cookie's name on a connection that is secure, or is plain loopback.
func name(base string, secure bool) string {
	if secure {
		return hostPrefix + base
	}
	return base
}

// SetCookie sends a cookie that lasts as long as lifetime. SameSite is Lax and not
// Strict: the provider sends the browser back by a link from its own site.
func SetCookie(w http.ResponseWriter, base, value string, lifetime time.Duration, secure bool) {
	http.SetCookie(w, cookie(base, value, int(lifetime/time.Second), secure))
}

// ClearCookie makes the browser forget a cookie.
func ClearCookie(w http.ResponseWriter, base string, secure bool) {
	http.SetCookie(w, cookie(base, "", -1, secure))
}

func cookie(base, value string, age int, secure bool) *http.Cookie {
	return &http.Cookie{
		Name: name(base, secure), Value: value, Path: "/", MaxAge: age,
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// Cookie returns the browser's cookie, or "". A duplicate cookie was also set by
// another site, and is not trusted.
func Cookie(r *http.Request, base string, secure bool) string {
	found := r.CookiesNamed(name(base, secure))
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}
