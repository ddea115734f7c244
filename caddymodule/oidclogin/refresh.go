package oidclogin

import (
	"context"
	"errors"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// refresh asks the provider for a person's present claims. The Account's Refresh is the token to use next
// time, and is set also with an error once the provider has given one, unless for another user:
// the old one may be used up (RFC 6749 6). Errors: ErrRefused when the token is no longer valid,
// for example that of a disabled person; ErrNotAllowed; ErrUnavailable; ErrAnswer.
func (p *Provider) refresh(ctx context.Context, subject, refreshToken string) (Account, error) {
	found, settings, err := p.discover(ctx)
	if err != nil {
		return Account{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), 2*callTimeout)
	defer cancel()
	source := found.client(p.clientID, settings).TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken})
	token, err := source.Token()
	if err != nil {
		return Account{}, tokenError(err)
	}
	next := Account{Refresh: token.RefreshToken}
	// An ID token is optional here (OpenID Connect Core 12.2); userinfo has the rest.
	claims := map[string]any{"sub": subject}
	if _, has := token.Extra("id_token").(string); has {
		if claims, err = p.verified(ctx, found, token); err != nil {
			return next, err
		}
	}
	if claims["sub"] != subject {
		return Account{}, errOther
	}
	who, err := found.account(ctx, claims, token, settings)
	if errors.Is(err, errOther) {
		return Account{}, err
	} else if err != nil {
		return next, err
	}
	who.Issuer, who.Refresh = p.issuer, token.RefreshToken
	return who, settings.admit(who)
}
