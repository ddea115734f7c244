package identity

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"crypto/tls"
)

// Place is where a credential was presented.
type Place uint8

// The places. Some credentials are good at some of them only.
const (
	// AtRegistry is below /v2/.
	AtRegistry Place = iota
	// AtToken is the token endpoint.
	AtToken
	// AtLogin is the login page.
	AtLogin
)

// Credential is an unverified credential, as a caller presents it.
type Credential struct {
	Place Place
	// User is the claimed name: of Basic, or of a form. It is not verified.
	User string
	// Secret is the password of Basic, or the text after Bearer. Empty: none.
	Secret string
	// Bearer reports that the secret followed Bearer: the answer to such a client may say that
	// the token is wrong.
	Bearer bool
	// Issuer is the `iss` that Secret claims to have, if it is a JWT.
	Issuer string
	// TLS is the client's own connection, if it is one. Only what TLS itself has
	// verified counts.
	TLS *tls.ConnectionState
	// Host is the host that was called, in the form of namespace.CanonicalHost.
	Host string
	// Address is the address against which failures are counted.
	Address string
	// Explicit reports that the caller chose to be anonymous: Basic with an empty user and an
	// empty password.
	Explicit bool
}

// Presented reports whether the caller presents a secret.
func (c Credential) Presented() bool { return c.Secret != "" }

// takesPassword reports whether the secret may be a password in the place where it was
// presented.
func (c Credential) takesPassword() bool {
	return !c.Bearer && (c.Place == AtToken || c.Place == AtLogin)
}

const (
	// maxAuthorization bounds a header, in bytes: workload tokens are long.
	maxAuthorization = 32 << 10
	// maxClaimed bounds the name that a caller claims, in bytes.
	maxClaimed = 255
)

// ReadCredential reads the Authorization field. The credential is empty if the field
// is missing or empty; scripts send an empty one if their variable is not set. Errors:
// ErrCredential for a credential of an unknown kind; the message never repeats the
// field.
func ReadCredential(r *http.Request, place Place) (Credential, error) {
	c := Credential{Place: place}
	if !forwarded(r) {
		// Otherwise it is the connection of a proxy, whose certificate must not identify all of
		// its clients.
		c.TLS = r.TLS
	}
	fields := r.Header["Authorization"]
	switch {
	case len(fields) == 0:
		return c, nil
	case len(fields) > 1:
		return c, fmt.Errorf("more than one Authorization field: %w", ErrCredential)
	case strings.TrimSpace(fields[0]) == "":
		return c, nil
	case len(fields[0]) > maxAuthorization:
		return c, fmt.Errorf("long Authorization field: %w", ErrCredential)
	}
	scheme, rest, _ := strings.Cut(fields[0], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Basic"):
		return c, c.readBasic(rest)
	case strings.EqualFold(scheme, "Bearer"):
		if rest == "" {
			return c, fmt.Errorf("empty Bearer: %w", ErrCredential)
		}
		c.Bearer = true
		c.setSecret(rest)
		return c, nil
	}
	return c, fmt.Errorf("the scheme of Authorization is neither Basic nor Bearer: %w", ErrCredential)
}

func (c *Credential) readBasic(encoded string) error {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("malformed Basic: %w", ErrCredential)
	}
	user, password, ok := strings.Cut(string(data), ":")
	if !ok {
		return fmt.Errorf("malformed Basic: %w", ErrCredential)
	}
	return c.SetBasic(user, password)
}

// SetBasic sets a user and a password. If both are empty the caller chose to be
// anonymous, as the conformance suite does. Errors: ErrCredential for a user without a
// password, and for an invalid user name.
func (c *Credential) SetBasic(user, password string) error {
	switch {
	case user == "" && password == "":
		c.Explicit = true
		return nil
	case len(user) > maxClaimed || !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl):
		return fmt.Errorf("invalid user name: %w", ErrCredential)
	case password == "":
		c.User = user
		return fmt.Errorf("empty password: %w", ErrCredential)
	}
	c.User = user
	c.setSecret(password)
	return nil
}

// setSecret sets a password, key or token, and determines its kind.
func (c *Credential) setSecret(secret string) {
	c.Secret = secret
	if !isKey(secret) {
		c.Issuer = claimedIssuer(secret)
	}
}

// claimedIssuer returns the `iss` of a JWT, as its bearer wrote it; empty if the
// secret is not a JWT.
func claimedIssuer(raw string) string {
	if len(raw) > maxAuthorization || strings.Count(raw, ".") != 2 {
		return ""
	}
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(data, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
