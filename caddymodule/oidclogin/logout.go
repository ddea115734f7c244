package oidclogin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// maxLogoutAge is how old a logout token may be: providers send them at once, and
// longer than this none is remembered.
const maxLogoutAge = 10 * time.Minute

// EndSession returns the address at which a browser also signs out of the provider, or "" if the
// provider has no such page or has not been reached. The address has no token: the provider asks
// its own user.
func (p *Provider) EndSession() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		return ""
	}
	address, err := url.Parse(p.found.document.EndSession)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return ""
	}
	query := address.Query()
	query.Set("client_id", p.clientID)
	address.RawQuery = query.Encode()
	return address.String()
}

// SignedOut is the person that a provider has signed out of one session, or of all.
type SignedOut struct{ Issuer, Subject, SID string }

// LogoutToken verifies a provider's message to the back-channel: its signature,
// issuer, audience, time and event, that it is not an ID token, and that it was not
// used before. Errors: ErrUnavailable, ErrAnswer.
func (l *Login) LogoutToken(ctx context.Context, raw string) (SignedOut, error) {
	if raw == "" || len(raw) > 2*maxParameter {
		return SignedOut{}, fmt.Errorf("%w: no logout token", ErrAnswer)
	}
	found, _, err := l.provider.discover(ctx)
	if err != nil {
		return SignedOut{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	token, err := found.logout.VerifyLogout(ctx, raw)
	if err != nil {
		if errors.Is(err, ErrUnavailable) {
			return SignedOut{}, err
		}
		return SignedOut{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	now := l.provider.now()
	if age := now.Sub(token.IssuedAt); age > maxLogoutAge || age < -skew {
		return SignedOut{}, fmt.Errorf("%w: the logout token is too old, or from the future", ErrAnswer)
	}
	if !l.loggedOut.Add(token.TokenID, struct{}{}) {
		return SignedOut{}, fmt.Errorf("%w: the logout token was already used", ErrAnswer)
	}
	return SignedOut{Issuer: token.Issuer, Subject: token.Subject, SID: token.SessionID}, nil
}

// Ends reports whether it ends a session. A session that the provider never named
// ends together with all sessions of its person.
func (s SignedOut) Ends(issuer, subject, sid string) bool {
	if s.Issuer != issuer || s.Subject != "" && s.Subject != subject {
		return false
	}
	return s.SID == "" || s.SID == sid || s.Subject != "" && sid == ""
}
