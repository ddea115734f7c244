package oidclogin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
)

// Found is the result of a probe of a provider.
type Found struct {
	// Skew is how far its clock is ahead of ours, by its Date header, which has whole
	// seconds. Dated reports whether it had one.
	Skew  time.Duration
	Dated bool
	// Keys is how many of its keys can verify a signature.
	Keys int
	// Follows reports whether it offers refresh tokens: groups then follow it.
	Follows bool
}

// Probe examines a provider on behalf of an operator: it repeats the discovery, also after a
// failure, and fetches the keys. It needs no secret. Errors are sentences that name a remedy.
func (p *Provider) Probe(ctx context.Context) (found Found, err error) {
	address := strings.TrimSuffix(p.issuer, "/") + "/.well-known/openid-configuration"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return found, err
	}
	asked := time.Now()
	response, err := p.client.Do(request)
	if err != nil {
		return found, fmt.Errorf("discovery cannot be reached: %w; users cannot sign in until it can; API keys still work", err)
	}
	defer response.Body.Close()
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		found.Skew, found.Dated = date.Sub(asked.Add(time.Since(asked)/2)).Round(time.Second), true
	}
	if response.StatusCode != http.StatusOK {
		return found, fmt.Errorf("%s answers %s: is that the provider's issuer, and is the application there?", address, response.Status)
	}
	var said struct {
		document
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return found, fmt.Errorf("%s does not answer with a discovery document: %w", address, err)
	}
	switch {
	case said.Issuer != p.issuer:
		return found, fmt.Errorf("the provider calls itself %q: write exactly that as issuer, to the last slash", said.Issuer)
	case said.Authorization == "" || said.Token == "" || said.Keys == "":
		return found, errors.New("discovery names no authorization_endpoint, token_endpoint or jwks_uri: this provider cannot sign people in")
	case found.Skew.Abs() > skew:
		return found, fmt.Errorf("its clock and ours are %s apart, and more than %s is too much for its tokens: set the clocks", found.Skew.Abs(), skew)
	}
	keys, err := jwks.Fetch(ctx, p.client, said.Keys)
	if err != nil {
		return found, fmt.Errorf("its keys at %s cannot be had: %w", said.Keys, err)
	}
	if found.Keys = len(keys); found.Keys == 0 {
		return found, fmt.Errorf("none of its keys at %s can verify a signature: give the provider a signing key (RS256 or ES256), not a shared secret", said.Keys)
	}
	found.Follows = slices.Contains(said.Scopes, oidc.ScopeOfflineAccess)
	return found, nil
}
