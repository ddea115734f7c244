package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// Authenticator verifies one kind of credential: a guest module, oci.authenticators.*.
type Authenticator interface {
	// Recognizes reports from the form of a credential, before anything is verified,
	// whether it is of this kind. It is cheap, and has no effect.
	Recognizes(Credential) bool
	// Authenticate verifies a credential that it recognizes. ctx bounds its requests to others.
	// The Credential of the result begins with the kind, and names no secret. Errors:
	// ErrCredential; anything else means that it could not be verified now.
	Authenticate(context.Context, Credential) (Proven, error)
}

// Proven is the verified identity behind a credential.
type Proven struct {
	policies.Identity
	// Until bounds what may be issued for the credential. Zero: no bound.
	Until time.Time
	// Method names the kind of the presented credential, also when it was refused: one of a few
	// words, for metrics and the audit. Gate.Admit sets it.
	Method string
	// Push says that the registry token was, or will be, requested for a push. It gives
	// no right; it only describes the purpose of a request.
	Push bool
}

// ErrUnknownKind is the error for a credential of an unknown kind: not a key or token
// of ours, not from a trusted issuer, and not of a user. It is an ErrCredential.
var ErrUnknownKind = fmt.Errorf("%w", ErrCredential)

// Chain identifies the caller that presents a credential. It is made for one configuration.
type Chain struct {
	Store  *Store
	Tokens *token.Signer
	// Others verify credentials that are neither a key nor a token of ours, in their
	// order.
	Others []Authenticator
	// Locals have passwords, which are checked last. nil: there are no local users.
	Locals *Locals
}

// kind is the kind of a credential, which is decided before it is verified.
type kind uint8

const (
	nothing kind = iota
	apiKey
	registryToken
	other
	localUser
	unknown
)

// recognized is a credential whose kind is decided.
type recognized struct {
	Credential
	kind kind
	by   Authenticator // of other
}

// recognize decides only by the form of the credential. A secret takes precedence over a
// certificate.
func (c *Chain) recognize(credential Credential) recognized {
	switch {
	case credential.Place == AtLogin:
		// In a browser, only a password signs a user in.
		if credential.Presented() && c.Locals.Knows(credential.User) {
			return recognized{credential, localUser, nil}
		}
		return recognized{credential, unknown, nil}
	case c.Store.keys.presents(credential.Secret):
		return recognized{credential, apiKey, nil}
	case credential.Issuer != "" && credential.Issuer == c.Tokens.Site():
		return recognized{credential, registryToken, nil}
	}
	for _, a := range c.Others {
		if a.Recognizes(credential) {
			return recognized{credential, other, a}
		}
	}
	switch {
	case !credential.Presented():
		return recognized{credential, nothing, nil}
	case credential.takesPassword() && c.Locals.Knows(credential.User):
		return recognized{credential, localUser, nil}
	}
	return recognized{credential, unknown, nil}
}

// method returns the word for the kind. An Authenticator may define its own.
func (r recognized) method() string {
	if named, ok := r.by.(interface{ Method() string }); ok {
		return named.Method()
	}
	return [...]string{"none", "api_key", "registry_token", "authenticator", "local_user", "unknown"}[r.kind]
}

// identify verifies a credential by the one way that its kind has: when that fails, no
// other is tried. An empty credential is the anonymous caller.
//
// Errors: ErrCredential, and ErrUnknownKind in particular; core errors if it cannot be
// verified now.
func (c *Chain) identify(ctx context.Context, credential recognized) (Proven, error) {
	switch credential.kind {
	case nothing:
		return Proven{}, nil
	case apiKey:
		who, err := c.Store.keyIdentity(credential.Secret, c.Locals, credential.Address)
		return Proven{Identity: who}, err
	case registryToken:
		claims, err := c.Tokens.Verify(credential.Secret, credential.Host)
		if err != nil {
			return Proven{}, fmt.Errorf("%w: %w", ErrCredential, err)
		}
		proven, err := c.bearer(claims, credential.Address)
		proven.Push = claims.Push
		return proven, err
	case other:
		return c.enabled(credential.by.Authenticate(ctx, credential.Credential))
	case localUser:
		return c.enabled(c.Locals.authenticate(ctx, credential.Credential))
	}
	switch {
	case c.Locals == nil || credential.Bearer:
	case credential.takesPassword():
		return c.Locals.authenticate(ctx, credential.Credential) // which takes as long as for a known name
	default:
		return Proven{}, fmt.Errorf(
			"a password is taken at /token and on the login page alone, use an API key here: %w", ErrUnknownKind)
	}
	return Proven{}, ErrUnknownKind
}

// enabled refuses a user that an admin has disabled.
func (c *Chain) enabled(proven Proven, err error) (Proven, error) {
	if err != nil {
		return Proven{}, err
	}
	if user, _ := c.Store.Users().Get(proven.User); user.Disabled {
		return Proven{}, &UserRefused{proven.User, proven.Credential}
	}
	return proven, nil
}

// bearer looks up the present identity of the user to whom a registry token was issued, for a caller
// with an address.
func (c *Chain) bearer(claims token.Claims, address string) (Proven, error) {
	until := time.Unix(claims.Expires, 0)
	if claims.Subject == "" {
		return Proven{Until: until}, nil
	}
	if id, ok := strings.CutPrefix(claims.Credential, KeyCredential("")); ok {
		who, err := c.Store.keyIDIdentity(id, c.Locals, address)
		if err == nil && who.User != claims.Subject {
			err = fmt.Errorf("registry token: %w", ErrCredential)
		}
		return Proven{Identity: who, Until: until}, err
	}
	if user, _ := c.Store.Users().Get(claims.Subject); user.Disabled {
		return Proven{}, &UserRefused{claims.Subject, claims.Credential}
	}
	if who, ok := c.Locals.Recall(claims.Subject, claims.Credential); ok {
		return Proven{Identity: who, Until: until}, nil
	}
	if !claims.Recordless {
		return Proven{}, fmt.Errorf("registry token: its credential is gone: %w", ErrCredential)
	}
	who := policies.Identity{User: claims.Subject, Groups: claims.Groups, Credential: claims.Credential}
	return Proven{Identity: who, Until: until}, nil
}

// Issue makes a registry token for a caller that Identify has proven. It lasts no longer than the
// credential from which it is made, so that exchanging one token for another does not extend its
// life. Errors: core.ErrUnauthorized when the credential ends at this moment.
func (c *Chain) Issue(host string, who Proven) (string, token.Claims, error) {
	claims := token.Claims{Subject: who.User, Credential: who.Credential, Push: who.Push}
	lifetime := token.MaxLifetime
	if !who.Anonymous() && !c.recorded(who.Identity) {
		claims.Groups, claims.Recordless = who.Groups, true
		lifetime = token.RecordlessLifetime
	} else if IsLocal(who.Identity) {
		lifetime = token.RecordlessLifetime // it stands for a password
	}
	if !who.Until.IsZero() && !who.Anonymous() {
		lifetime = min(lifetime, who.Until.Sub(c.Store.now()))
	}
	if lifetime < time.Second {
		return "", token.Claims{}, fmt.Errorf("%w: the credential ends now", core.ErrUnauthorized)
	}
	return c.Tokens.Sign(host, claims, lifetime)
}

// recorded reports whether an identity can be found again by its credential.
func (c *Chain) recorded(who policies.Identity) bool {
	if strings.HasPrefix(who.Credential, KeyCredential("")) {
		return true
	}
	_, ok := c.Locals.Recall(who.User, who.Credential)
	return ok
}
