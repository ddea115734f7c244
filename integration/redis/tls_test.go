package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// authority signs certificates for a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	path        string // of the certificate, in PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.path, _ = a.sign(t, template)
	return a
}

// pair makes a certificate for a name, and returns the files.
func (a *authority) pair(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	return a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// sign makes a key and a certificate. The first is the authority's own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (certificate, key string) {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate == nil {
		if a.certificate, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = private
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestRedisIsAskedByTLS(t *testing.T) {
	ours := newAuthority(t)
	certificate, key := ours.pair(t, "redis.test")
	client, clientKey := ours.pair(t, "client.test")
	pair, err := tls.LoadX509KeyPair(client, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{port: server.FreePort(t), tls: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}}
	r.start(t, []string{"--port", "0", "--tls-port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ours.path, "--tls-auth-clients", "yes"})
	up := upstreamtest.New(t, upstreamtest.Config{})
	with := func(ca, name string, more ...string) string {
		return fmt.Sprintf("%s\ntls {\nca %s\nserver_name %s\n%s\n}", r.option(), ca, name, strings.Join(more, "\n"))
	}
	ourPair := "client_certificate " + client + " " + clientKey
	one := registry(t, up, with(ours.path, "redis.test", ourPair), "A")
	shares(t, up, one, registry(t, up, with(ours.path, "redis.test", ourPair), "A"))

	for _, row := range []struct{ name, options string }{
		{"another authority's certificate", with(newAuthority(t).path, "redis.test", ourPair)},
		{"a certificate for another name", with(ours.path, "other.test", ourPair)},
		{"no certificate of the client", with(ours.path, "redis.test")},
		{"no TLS", r.option()},
	} {
		s := registry(t, up, row.options, "A")
		for range 5 {
			shared, err := sharesOne(up, one, s)
			if shared || err != nil {
				t.Errorf("%s: shared %v, %v", row.name, shared, err)
			}
		}
		if got := strings.Count(s.Log(), "Redis does not answer"); got != 1 {
			t.Errorf("%s: the log says it %d times:\n%s", row.name, got, s.Log())
		}
	}
}
