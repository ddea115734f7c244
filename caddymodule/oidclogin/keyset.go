package oidclogin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
)

const (
	// loginRefetch is for tokens from the provider's own token endpoint: a signature by an
	// unknown key causes a fetch of the keys at once, however often. It costs the provider one
	// more request for each that it has answered, and a limit would refuse sign-ins right after
	// it has changed its keys.
	loginRefetch = 0
	// logoutRefetch is the least interval between two fetches of the keys for tokens that anyone
	// can send: a flood of unknown keys must not become a flood of requests to the provider.
	logoutRefetch = 10 * time.Second
	// keyLife is how long fetched keys are trusted. After that, keys that the provider
	// withdrew are refused here, too.
	keyLife = time.Hour
)

// keySet is the provider's keys. Its views share the keys, and each has its own limit
// for fetching them.
type keySet struct {
	address string
	client  *http.Client
	now     func() time.Time

	mu      sync.Mutex // guards the fields below, and is held while fetching
	keys    []jose.JSONWebKey
	fetched time.Time
}

func newKeySet(address string, client *http.Client, now func() time.Time) *keySet {
	return &keySet{address: address, client: client, now: now}
}

// view is the key set for one kind of token.
func (k *keySet) view(every time.Duration) oidc.KeySet { return &keyView{keySet: k, every: every} }

type keyView struct {
	*keySet
	every time.Duration
	tried time.Time // under mu
}

// VerifySignature returns the payload of a token that one of the keys has signed. The
// verifier that calls it has looked at the algorithm already.
func (v *keyView) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
		jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
	})
	if err != nil {
		return nil, fmt.Errorf("malformed token: %w", err)
	}
	if len(signed.Signatures) != 1 {
		return nil, errors.New("a token has one signature")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if now.Sub(v.fetched) < keyLife {
		if payload, ok := jwks.Verify(signed, v.keys); ok {
			return payload, nil
		}
	}
	if !v.tried.IsZero() && now.Sub(v.tried) < v.every {
		return nil, errors.New("no known key made the signature, and the keys were fetched just now")
	}
	v.tried = now
	keys, err := jwks.Fetch(ctx, v.client, v.address)
	if err != nil {
		return nil, fmt.Errorf("%w: fetch keys: %w", ErrUnavailable, err)
	}
	v.keys, v.fetched = keys, now
	if payload, ok := jwks.Verify(signed, keys); ok {
		return payload, nil
	}
	return nil, errors.New("no key of the provider made the signature")
}
