package authenticators

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// A connection may outlive the certificate with which it began.
func TestACertificateEndsDuringItsConnection(t *testing.T) {
	leaf := &x509.Certificate{DNSNames: []string{"ci"}, NotAfter: time.Now().Add(-time.Second)}
	credential := identity.Credential{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}}
	c := new(ClientCert)
	if !c.Recognizes(credential) {
		t.Fatal("it is not recognized")
	}
	if who, err := c.Authenticate(t.Context(), credential); !errors.Is(err, identity.ErrCredential) {
		t.Errorf("got %v, %v", who, err)
	}
	leaf.NotAfter = time.Now().Add(time.Hour)
	if who, err := c.Authenticate(t.Context(), credential); err != nil || who.User != "ci" {
		t.Errorf("of a valid certificate: got %v, %v", who, err)
	}
}
