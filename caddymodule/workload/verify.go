package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// maxToken bounds what is parsed, in bytes: those of Forgejo and GitHub have two
	// to three thousand.
	maxToken = 16 << 10
	// maxSubject bounds the name of a job in logs, in bytes.
	maxSubject = 1 << 10
	// skew is how far the clock of an issuer may be ahead of ours. A clock that is behind needs
	// no tolerance: its tokens only expire early here.
	skew = time.Minute
)

// ErrToken is the error for an invalid token. The text around it may be shown to the
// sender.
var ErrToken = errors.New("not a workload token that is trusted here")

// algorithms are the signature algorithms that prove the signer, and that issuers of such tokens
// use.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// Verify returns a token's claims, if the issuer has signed it and it is valid now. A
// Rule checks the audience and whether it is trusted. ctx bounds the wait for the
// issuer's answer. Errors: ErrToken, ErrUnavailable.
func (i *Issuer) Verify(ctx context.Context, raw string) (Claims, error) {
	if len(raw) > maxToken {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrToken, maxToken)
	}
	signature := signature{issuer: i}
	verifier := oidc.NewVerifier(i.url, &signature, &oidc.Config{
		SkipClientIDCheck:    true, // each rule has audiences of its own
		SkipExpiryCheck:      true, // see within
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.EdDSA},
	})
	if _, err := verifier.Verify(ctx, raw); err != nil {
		switch {
		case errors.Is(signature.err, ErrUnavailable), errors.Is(signature.err, ErrToken):
			return nil, signature.err // go-oidc keeps only its text
		}
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	claims, err := readClaims(signature.payload)
	if err != nil {
		return nil, err
	}
	// go-oidc reads names of claims in any case, and Google's iss in two forms.
	if claims["iss"] != i.url {
		return nil, fmt.Errorf("%w: its iss is another", ErrToken)
	}
	subject, _ := claims["sub"].(string)
	if subject == "" || len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return nil, fmt.Errorf("%w: its sub is missing or empty", ErrToken)
	}
	return claims, claims.within(i.now())
}

// signature is the key set of one verification. It keeps the error that go-oidc does not return.
type signature struct {
	issuer  *Issuer
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	token, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, err
	}
	s.payload, s.err = s.issuer.payload(ctx, token)
	return s.payload, s.err
}

// within refuses a token that is not valid now. A token must have an expiry, exact to the second,
// because nothing that is issued for it may last longer.
func (c Claims) within(now time.Time) error {
	expires, ok, err := c.time("exp")
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: it has no exp", ErrToken)
	case !now.Before(expires):
		return fmt.Errorf("%w: it has expired at %s", ErrToken, expires.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		at, ok, err := c.time(name)
		switch {
		case err != nil:
			return err
		case ok && now.Add(skew).Before(at):
			return fmt.Errorf("%w: it is from the future: %s is %s", ErrToken, name, at.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// Expires is when the token ends.
func (c Claims) Expires() time.Time {
	at, _, _ := c.time("exp")
	return at
}

// farthest is a time beyond any token's, in seconds: beyond it numbers overflow.
const farthest = 1 << 40

func (c Claims) time(name string) (at time.Time, ok bool, err error) {
	seconds := 0.0
	switch value := c[name].(type) {
	case nil:
		return time.Time{}, false, nil
	case int64:
		seconds = float64(value)
	case float64:
		seconds = value
	default:
		return time.Time{}, false, fmt.Errorf("%w: its %s is not a number", ErrToken, name)
	}
	if !(seconds >= 0 && seconds < farthest) {
		return time.Time{}, false, fmt.Errorf("%w: its %s is not a time", ErrToken, name)
	}
	return time.Unix(int64(seconds), 0), true, nil
}
