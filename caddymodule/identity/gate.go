package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// Gate decides which credentials a site accepts, before the chain verifies them.
type Gate struct {
	*Chain
	// ReadOnly sites accept none, and Insecure ones accept them also where others could
	// read them.
	ReadOnly, Insecure bool
	// FallbackOnly reports whether only the site's fallback claims a repository, by the
	// name that the client wrote. nil: there is no fallback.
	FallbackOnly func(name string) bool
	// URL is where credentials are taken, without a slash at its end, or empty.
	URL string
}

// Admit identifies the caller. broken is the error of ReadCredential. pulls are the
// request's repositories if it only reads them.
//
// On a site with a fallback, a caller with an unknown credential counts as anonymous if
// only the fallback claims each of pulls, because Docker sends the credentials of
// Docker Hub to its mirror. Such a credential is not reported.
//
// Errors: core.ErrUnauthorized for wrong credentials, core.ErrUnavailable if they cannot
// be verified now. core.ErrTooManyRequests is only for passwords, which can be guessed:
// a key or a token has too many bits for that, and a client whose token has ended
// renews it after a 401 and gives up after anything else.
//
// The Method of the result is set in any case.
func (g *Gate) Admit(ctx context.Context, c Credential, broken error, conn Connection, pulls []string) (Proven, error) {
	known := g.recognize(c)
	proven, err := g.admit(ctx, known, broken, conn, pulls)
	proven.Method = known.method()
	return proven, err
}

func (g *Gate) admit(ctx context.Context, c recognized, broken error, conn Connection, pulls []string) (Proven, error) {
	if broken != nil {
		return Proven{}, g.wrong(broken)
	}
	if !c.Presented() && (c.TLS == nil || g.ReadOnly) {
		return Proven{}, nil
	}
	if g.ReadOnly || !conn.Private() && !g.Insecure {
		return g.withoutCredentials(c, pulls)
	}
	proven, err := g.identify(ctx, c)
	switch {
	case err == nil:
		return proven, nil
	case (errors.Is(err, ErrUnknownKind) || errors.Is(err, core.ErrTooManyRequests)) && g.fallback(pulls):
		return Proven{}, nil
	case errors.Is(err, ErrCredential):
		return Proven{}, g.wrong(err)
	case errors.Is(err, core.ErrTooManyRequests):
		return Proven{}, err
	}
	return Proven{}, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
}

// withoutCredentials handles a credential on a site that accepts none. It admits our
// own anonymous tokens, which every client presents that was sent to /token.
func (g *Gate) withoutCredentials(c recognized, pulls []string) (Proven, error) {
	switch c.kind {
	case registryToken:
		if claims, err := g.Tokens.Verify(c.Secret, c.Host); err == nil && claims.Subject == "" {
			return Proven{Until: time.Unix(claims.Expires, 0)}, nil
		} else if err != nil {
			return Proven{}, fmt.Errorf("%w: %w", core.ErrUnauthorized, err)
		}
	case unknown, localUser: // which a password is, is not looked at here
		if g.fallback(pulls) {
			return Proven{}, nil
		}
	}
	if g.ReadOnly {
		return Proven{}, fmt.Errorf("%w: %w%s", core.ErrUnauthorized, ErrReadOnly, g.elsewhere())
	}
	return Proven{}, fmt.Errorf("%w: %w; %s", core.ErrUnauthorized, ErrPlainHTTP, PlainRemedy(g.URL))
}

// Credentials on a site that accepts none. They were not verified.
var (
	ErrReadOnly  = errors.New("no credentials are taken here, because this site is for reading only")
	ErrPlainHTTP = errors.New("no credentials are taken here, because this is plain HTTP, where others could read them")
)

// PlainRemedy returns what to do about ErrPlainHTTP, where url is the registry's own
// address or empty.
func PlainRemedy(url string) string {
	if !strings.HasPrefix(url, "https://") {
		url = "a site with HTTPS"
	}
	return "use " + url + ", or set insecure_credentials in the site's oci_registry"
}

func (g *Gate) elsewhere() string {
	if g.URL == "" {
		return ""
	}
	return "; use " + g.URL
}

// fallback reports whether unknown credentials count as anonymous for these
// repositories.
func (g *Gate) fallback(pulls []string) bool {
	if g.FallbackOnly == nil || len(pulls) == 0 {
		return false
	}
	for _, name := range pulls {
		if !g.FallbackOnly(name) {
			return false
		}
	}
	return true
}

// wrong returns the refusal of wrong credentials.
func (g *Gate) wrong(err error) error {
	var refused *KeyRefused
	if errors.As(err, &refused) && !refused.Disabled && g.URL != "" {
		return fmt.Errorf("%w: %w; make a new one at %s/user/apikey", core.ErrUnauthorized, err, g.URL)
	}
	return fmt.Errorf("%w: %w", core.ErrUnauthorized, err)
}

// Denied returns the refusal of a write on a read-only site.
func (g *Gate) Denied() error {
	return fmt.Errorf("%w: this site is for reading only%s", core.ErrDenied, g.elsewhere())
}
