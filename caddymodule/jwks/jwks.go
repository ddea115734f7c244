// Package jwks has the common part of sign-in providers and issuers of workload tokens:
// fetching the keys that they publish (RFC 7517), and checking a signature by them. The
// caller decides how long keys are trusted, and who may cause another fetch.
//
//	client := jwks.Client(http.DefaultTransport, 5*time.Second, nil)
//	keys, err := jwks.Fetch(ctx, client, "https://issuer.example/keys")
//	payload, ok := jwks.Verify(token, keys)
package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// MaxAnswer bounds what one answer may hold, in bytes.
const MaxAnswer = 1 << 20

// maxRedirects is more than anybody needs.
const maxRedirects = 3

// Client returns a client for an untrusted, possibly slow server: a call ends after
// timeout, an answer after MaxAnswer, and redirects after three. allow, unless it is
// nil, may refuse one.
func Client(transport http.RoundTripper, timeout time.Duration, allow func(*url.URL) error) *http.Client {
	return &http.Client{
		Timeout:   timeout,
		Transport: bounded{transport},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			if allow == nil {
				return nil
			}
			return allow(next.URL)
		},
	}
}

// Fetch fetches a key set. Errors: those of the connection, another status than 200, and
// an answer that is not a key set.
func Fetch(ctx context.Context, client *http.Client, address string) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return Read(response.Body)
}

// Read reads a key set, and takes what proves who signed. The caller bounds the body.
// Errors: body is not a key set.
func Read(body io.Reader) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(body).Decode(&set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// A key of an unknown kind does not invalidate the others. A symmetric key must
		// not be published.
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Verify returns the payload of a token with one signature, if one of the keys has made
// it. The caller must have refused algorithms that prove nothing.
func Verify(token *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, ok bool) {
	header := token.Signatures[0].Header
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := token.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// bounded cuts answers that are too long: they end as broken JSON.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, MaxAnswer), response.Body}
	return response, nil
}
