// Package refusal describes refused logins for the audit log: what was claimed, which
// credential it was as far as that is known, and why it was refused, as one word of a
// few. Nothing that it returns is a secret, and everything is short and printable,
// whatever was sent.
//
// The words of Reason are an interface: filters of fail2ban and dashboards match them.
//
//	if r, ok := refusal.Of(credential, err); ok {
//		audit("registry_login_refused", r.Fields()...)
//	}
package refusal

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
)

// The reasons. Only Wrong and Limited are guesses.
const (
	// Wrong is an unknown password, key or user.
	Wrong = "wrong"
	// Limited is a password that was not compared, because too many others were tried.
	Limited = "limited"
	// Expired, Revoked and Disabled are credentials that were good once.
	Expired  = "expired"
	Revoked  = "revoked"
	Disabled = "disabled"
	// Token is an invalid token of a job or of this registry.
	Token = "token"
	// Certificate is a client certificate that TLS has verified and that names no user.
	Certificate = "certificate"
	// Malformed is an invalid Authorization field.
	Malformed = "malformed"
	// PlainHTTP and ReadOnly are credentials on a site that accepts none.
	PlainHTTP = "plain_http"
	ReadOnly  = "read_only"
	// Stale is a provider's answer to a sign-in that was not begun here, or has ended;
	// Provider is a refusal or an unusable answer of the provider; NotAllowed is a
	// person who is in none of the groups, or whose name cannot be used.
	Stale      = "stale"
	Provider   = "provider"
	NotAllowed = "not_allowed"
)

const (
	// maxUser bounds a claimed name, in bytes: the longest that a user can have.
	maxUser = 120
	// maxIssuer bounds the issuer that a token claims, in bytes.
	maxIssuer = 200
	// maxError bounds the sentence, in bytes: some quote what was sent.
	maxError = 400
)

// Refusal is one refused login.
type Refusal struct {
	// User is the name that was claimed, or that of the credential's owner if the
	// credential is known. Empty: none.
	User string
	// Credential is the ID of a known credential, as in policies.Identity.
	Credential string
	// Issuer is the issuer that a foreign token claims.
	Issuer string
	// Reason is one of the constants.
	Reason string
	// Err is the refusal as a sentence.
	Err string
}

// Of describes the error with which a credential was refused. It reports false for an
// error that refuses nobody: the credential could not be verified now, or is a token of
// this registry that has expired, which every client presents once an hour.
func Of(c identity.Credential, err error) (Refusal, bool) {
	r := Refusal{User: c.User, Issuer: c.Issuer, Err: err.Error()}
	var key *identity.KeyRefused
	var user *identity.UserRefused
	switch {
	case errors.Is(err, token.ErrExpired):
		return Refusal{}, false
	case errors.As(err, &key):
		r.User, r.Credential, r.Issuer = key.Key.User, identity.KeyCredential(key.Key.ID), ""
		switch {
		case key.Disabled:
			r.Reason = Disabled
		case !key.Key.Revoked.IsZero():
			r.Reason = Revoked
		default:
			r.Reason = Expired
		}
	case errors.As(err, &user):
		r.User, r.Credential, r.Reason = user.User, user.Credential, Disabled
	case errors.Is(err, core.ErrTooManyRequests):
		r.Reason = Limited
	case errors.Is(err, identity.ErrPlainHTTP):
		r.Reason = PlainHTTP
	case errors.Is(err, identity.ErrReadOnly):
		r.Reason = ReadOnly
	case !errors.Is(err, core.ErrUnauthorized):
		return Refusal{}, false
	case !c.Presented() && c.TLS != nil && len(c.TLS.VerifiedChains) > 0:
		r.Reason = Certificate
	case !c.Presented():
		r.Reason = Malformed
	case c.Issuer != "":
		r.Reason = Token
	default:
		r.Reason = Wrong
	}
	return r.clean(), true
}

// OfSignIn is Of for a sign-in with a provider. user is the user that the provider
// named, or empty. It reports false while the provider does not answer, and for errors
// of ours.
func OfSignIn(user string, err error) (Refusal, bool) {
	r := Refusal{User: user, Err: err.Error()}
	var disabled *identity.UserRefused
	switch {
	case errors.As(err, &disabled):
		r.Reason = Disabled
	case errors.Is(err, oidclogin.ErrStale):
		r.Reason = Stale
	case errors.Is(err, oidclogin.ErrNotAllowed), errors.Is(err, identity.ErrNameTaken), errors.Is(err, identity.ErrUserInvalid):
		r.Reason = NotAllowed
	case errors.Is(err, oidclogin.ErrRefused), errors.Is(err, oidclogin.ErrAnswer):
		r.Reason = Provider
	default:
		return Refusal{}, false
	}
	return r.clean(), true
}

// Fields are the fields of the record that only the refusal knows.
func (r Refusal) Fields() []any {
	fields := []any{"reason", r.Reason}
	if r.Issuer != "" {
		fields = append(fields, "issuer", r.Issuer)
	}
	return append(fields, "error", r.Err)
}

// claimed is the name that a caller claims, without the secret that it may be: people
// put a key or a token into the field of the name.
func claimed(name string) string {
	switch {
	case identity.HasKey(name):
		return "(an API key)"
	case strings.HasPrefix(name, "eyJ") && strings.Count(name, ".") == 2:
		return "(a token)"
	}
	return name
}

func (r Refusal) clean() Refusal {
	r.User = claimed(r.User)
	r.User, r.Issuer, r.Err = cleanText(r.User, maxUser), cleanText(r.Issuer, maxIssuer), cleanText(identity.MaskKeys(r.Err), maxError)
	return r
}

// cleanText makes a stranger's text fit for a log: at most so many bytes and an ellipsis,
// and a question mark for each unprintable character.
func cleanText(text string, most int) string {
	cut := len(text) > most
	if cut {
		text = text[:most]
	}
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if cut {
		text += "…"
	}
	return text
}
