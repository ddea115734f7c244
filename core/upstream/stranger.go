package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// maxScope bounds the scope that another registry's challenge asks for, in bytes: a
// repository name has at most 255.
const maxScope = 1 << 10

// strangers are the other registries that one request was redirected to and that
// wanted a token, by scheme, host and port.
type strangers map[string]strangerToken

// strangerToken is an anonymous token from another registry's own realm.
type strangerToken struct{ key, value string }

func origin(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

// introduce answers the challenge of another registry, to which the upstream redirected,
// with an anonymous token from its realm (vanity hosts lead to such registries: lscr.io
// did, and a Nexus that has moved). The credentials and the client certificate are the
// upstream's, and are never shown there. Each registry is asked once for a request; ok
// is false when there is nothing new to show. Errors: those of trouble.
func (c *Client) introduce(known strangers, t *trip, ep *endpoint, repo string, target *url.URL, r *http.Response) (ok bool, err error) {
	if was, ok := known[origin(target)]; ok {
		ep.tokens.drop(was.key, was.value) // it refuses its realm's token
		return false, nil
	}
	all := parseChallenges(r.Header.Values("WWW-Authenticate"))
	m, ok := choose(all)
	if !ok || m.realm == "" {
		return false, nil
	}
	at, err := c.realm(target, m, t.op)
	if err != nil {
		return false, asStranger(t.op, err)
	}
	scope := bearerScope(all)
	if scope == "" || len(scope) > maxScope {
		scope = "repository:" + repositoryOf(target, repo) + ":pull"
	}
	key := strings.Join([]string{"stranger", origin(target), m.realm, m.service, scope}, "\x00")
	value, _, err := ep.tokens.get(t.ctx, key, c.config.StallTimeout, func(ctx context.Context) (token, error) {
		trip := &realmTrip{transport: c.any, realm: at, wait: c.config.Breaker}
		return trip.exchange(ctx, m, strings.Fields(scope), authn.Anonymous, t.op)
	})
	switch {
	case err != nil && t.ctx.Err() != nil:
		return false, failure(t.caller, t.ctx, t.op, away, err)
	case err != nil:
		return false, asStranger(t.op, err)
	}
	known[origin(target)] = strangerToken{key, value}
	return true, nil
}

// bearerScope is the scope of the challenge that choose takes. An anonymous token for it is
// harmless.
func bearerScope(all []challenge) string {
	for _, c := range all {
		if c.scheme == "bearer" && c.params["realm"] != "" {
			return c.params["scope"]
		}
	}
	return ""
}

// asStranger turns any error of another registry's realm into trouble.
func asStranger(op string, err error) error {
	e := Error{Condition: ErrUnavailable, Op: op, Status: http.StatusUnauthorized, cause: errors.New("another registry's token endpoint refuses")}
	var of *Error
	if errors.As(err, &of) {
		e = *of // another request may share the original
	}
	e.from = away
	return &e
}

// repositoryOf is the name of the repository that u asks about at another registry,
// which may not be ours.
func repositoryOf(u *url.URL, ours string) string {
	path, ok := strings.CutPrefix(u.Path, "/v2/")
	if !ok {
		return ours
	}
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(path, kind); i > 0 {
			return path[:i]
		}
	}
	return ours
}
