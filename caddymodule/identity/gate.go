package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// Gate is what a site takes for a credential, before the chain looks at it.
type Gate struct {
	*Chain
	// ReadOnly sites take none, and Insecure ones also where others could read them.
	ReadOnly, Insecure bool
	// FallbackOnly tells whether nothing but the site's fallback claims a repository,
	// by the name that the client wrote. nil: there is no fallback.
	FallbackOnly func(name string) bool
	// URL is where credentials are taken, without a slash at its end, or empty.
	URL string
}

// Admit finds out who asks. broken is what ReadCredential said. pulls are the
// repositories that the request is about if it reads them and does nothing else.
//
// On a site with a fallback, an unknown credential is nobody's if only the fallback
// claims each of pulls, because Docker sends the credentials of Docker Hub to its
// mirror. Nobody is told about such a one.
//
// Errors: core.ErrUnauthorized for wrong credentials, core.ErrUnavailable if they cannot
// be verified now. core.ErrTooManyRequests is for passwords alone, which are guessed: a
// key or a token has too many bits for that, and a client whose token has ended renews
// it after a 401 and gives up after anything else.
func (g *Gate) Admit(ctx context.Context, c Credential, broken error, conn Connection, pulls []string) (Proven, error) {
	if broken != nil {
		return Proven{}, g.wrong(broken)
	}
	if !c.Presented() && (c.TLS == nil || g.ReadOnly) {
		return Proven{}, nil
	}
	if g.ReadOnly || !conn.Private() && !g.Insecure {
		return g.withoutCredentials(c, pulls)
	}
	proven, err := g.Identify(ctx, c)
	switch {
	case err == nil:
		return proven, nil
	case (errors.Is(err, ErrUnknownKind) || errors.Is(err, core.ErrTooManyRequests)) && g.fallback(pulls):
		return Proven{}, nil
	case Refused(err):
		return Proven{}, g.wrong(err)
	case errors.Is(err, core.ErrTooManyRequests):
		return Proven{}, err
	}
	return Proven{}, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
}

// withoutCredentials admits who presents a credential where none is taken: with one of
// our own anonymous tokens, which every client presents that was sent to /token.
func (g *Gate) withoutCredentials(c Credential, pulls []string) (Proven, error) {
	switch kind, _ := g.kind(c); kind {
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

// Credentials on a site that takes none. They were not verified.
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

// fallback tells whether unknown credentials are nobody's for these repositories.
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

// wrong words the refusal of wrong credentials.
func (g *Gate) wrong(err error) error {
	var refused *KeyRefused
	if errors.As(err, &refused) && !refused.Disabled && g.URL != "" {
		return fmt.Errorf("%w: %w; make a new one at %s/user/apikey", core.ErrUnauthorized, err, g.URL)
	}
	return fmt.Errorf("%w: %w", core.ErrUnauthorized, err)
}

// Denied is the refusal of a write on a site that is for reading only.
func (g *Gate) Denied() error {
	return fmt.Errorf("%w: this site is for reading only%s", core.ErrDenied, g.elsewhere())
}
