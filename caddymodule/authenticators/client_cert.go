package authenticators

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/workload"
	"github.com/eblume/caddy-registry/policies"
)

func init() {
	caddy.RegisterModule(ClientCert{})
}

// ClientCert knows callers by their TLS certificates, below /v2/ and at /token. A
// certificate counts only if Caddy has verified it: the site's `tls` needs client_auth
// with the mode verify_if_given or require_and_verify and with the authorities that
// are trusted. Whoever signs for these can call a machine by the name of anybody.
//
// An Authorization field decides before a certificate does. Of a request that somebody
// has forwarded, the certificate is the proxy's, and counts for nobody.
type ClientCert struct {
	// User is what of the certificate is the user's name: `san`, the first of its
	// alternative names, of URIs if there are any, else of DNS names, else of e-mail
	// addresses; or `cn`, the common name of its subject. Default: san.
	User string `json:"user,omitempty"`

	// Groups are those of everybody who has such a certificate. Default: none.
	Groups []string `json:"groups,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (ClientCert) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  namespace + clientCertName,
		New: func() caddy.Module { return new(ClientCert) },
	}
}

const clientCertName = "client_cert"

// Validate refuses what names nobody.
func (c *ClientCert) Validate() error {
	if c.User != "" && c.User != "san" && c.User != "cn" {
		return fmt.Errorf("%s: user is san or cn, not %q", clientCertName, c.User)
	}
	for _, group := range c.Groups {
		if strings.TrimSpace(group) == "" || strings.ContainsFunc(group, unicode.IsControl) {
			return fmt.Errorf("%s: invalid group name %q", clientCertName, group)
		}
	}
	return nil
}

// Recognizes tells whether there is a verified certificate, and nothing that decides
// before it.
func (*ClientCert) Recognizes(c identity.Credential) bool {
	return c.TLS != nil && len(c.TLS.VerifiedChains) > 0 && !c.Presented() && !c.Explicit && c.Place != identity.AtLogin
}

// Method names the kind of the credential, for metrics.
func (*ClientCert) Method() string { return clientCertName }

// Authenticate says whose certificate it is. TLS has verified it when the connection
// began; a connection may outlive it.
func (c *ClientCert) Authenticate(_ context.Context, credential identity.Credential) (identity.Proven, error) {
	leaf := credential.TLS.VerifiedChains[0][0]
	if !time.Now().Before(leaf.NotAfter) {
		return identity.Proven{}, fmt.Errorf("the client certificate expired on %s: %w", leaf.NotAfter.UTC().Format(time.DateOnly), identity.ErrCredential)
	}
	name, err := c.nameOf(leaf)
	if err != nil {
		return identity.Proven{}, fmt.Errorf("%w: %w", identity.ErrCredential, err)
	}
	sum := sha256.Sum256(leaf.Raw)
	return identity.Proven{
		Identity: policies.Identity{User: name, Groups: c.Groups, Credential: clientCertName + " " + hex.EncodeToString(sum[:6])},
		Until:    leaf.NotAfter,
	}, nil
}

// nameOf is the user that a certificate names.
func (c *ClientCert) nameOf(leaf *x509.Certificate) (string, error) {
	name, what := "", "no URI, DNS name or e-mail address as an alternative name"
	switch {
	case c.User == "cn":
		name, what = leaf.Subject.CommonName, "no common name"
	case len(leaf.URIs) > 0:
		name = leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		name = leaf.DNSNames[0]
	case len(leaf.EmailAddresses) > 0:
		name = leaf.EmailAddresses[0]
	}
	if name == "" {
		return "", fmt.Errorf("the client certificate has %s", what)
	}
	if strings.HasPrefix(name, workload.UserPrefix) {
		return "", errors.New("the client certificate names a workload, which only a trusted_issuer does")
	}
	if err := identity.CheckMachineName(name); err != nil {
		return "", fmt.Errorf("the name in the client certificate: %w", err)
	}
	return name, nil
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	client_cert {
//	    user   san|cn
//	    groups <groups...>
//	}
//
// groups may be repeated.
func (c *ClientCert) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the name
	return option.Block(d, clientCertName, option.Options{
		"user":   option.Once(&c.User).Check(c.Validate),
		"groups": option.List(&c.Groups).Check(c.Validate).Repeated(),
	})
}

var (
	_ caddy.Validator        = (*ClientCert)(nil)
	_ caddyfile.Unmarshaler  = (*ClientCert)(nil)
	_ identity.Authenticator = (*ClientCert)(nil)
)
