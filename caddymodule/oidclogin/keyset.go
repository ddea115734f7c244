package oidclogin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// loginRefetch is for tokens that came from the provider's own token endpoint: one
	// that no known key made has the keys fetched at once, however often. It costs the
	// provider one request more for each that it has answered, and a limit would
	// refuse whoever comes right after it has changed its keys.
	loginRefetch = 0
	// logoutRefetch is how often, at most, tokens that anybody can send have the keys
	// fetched: a flood of unknown keys must not become one of requests to the provider.
	logoutRefetch = 10 * time.Second
	// keyLife is how long fetched keys are believed: what the provider took back is
	// no good here then.
	keyLife = time.Hour
)

// keySet is the provider's keys. Its views share the keys, and each has its own limit
// for fetching them.
type keySet struct {
	address string
	client  *http.Client
	now     func() time.Time

	mu      sync.Mutex // guards what follows, and is held while fetching
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
		if payload, ok := verify(signed, v.keys); ok {
			return payload, nil
		}
	}
	if !v.tried.IsZero() && now.Sub(v.tried) < v.every {
		return nil, errors.New("no known key made the signature, and the keys were fetched just now")
	}
	v.tried = now
	keys, err := v.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: fetch keys: %w", ErrUnavailable, err)
	}
	v.keys, v.fetched = keys, now
	if payload, ok := verify(signed, keys); ok {
		return payload, nil
	}
	return nil, errors.New("no key of the provider made the signature")
}

func verify(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	id := signed.Signatures[0].Header.KeyID
	for _, key := range keys {
		if id != "" && key.KeyID != id || key.Use != "" && key.Use != "sig" {
			continue
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.address, nil)
	if err != nil {
		return nil, err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// A key of a kind that is not known here says nothing about the others. A
		// symmetric one is nobody's to publish.
		if err := json.Unmarshal(raw, &key); err == nil && key.Valid() && key.IsPublic() {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
