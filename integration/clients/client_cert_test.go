package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// byCertificate is a registry that identifies machines by their certificates. The TLS handshake
// of 127.0.0.1 has no name, so that Caddy cannot compare it with the Host.
const byCertificate = `{
	skip_install_trust
	auto_https disable_redirects
	servers {
		strict_sni_host insecure_off
	}
	oci {
		storage file {$REGISTRY_DATA}
		client_cert {
			user   san
			groups artifact-workloads
		}
		policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create
		}
	}
}

https://:{$REGISTRY_PORT} {
	tls %[1]s/server.pem %[1]s/server-key.pem {
		client_auth {
			mode verify_if_given
			trust_pool file %[1]s/ca.crt
		}
	}
	oci_registry
}
`

// certificates fills a directory as skopeo reads one: ca.crt, client.cert, client.key.
// The server's are beside them.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	spiffe, err := url.Parse("spiffe://example.org/zot-ci")
	if err != nil {
		t.Fatal(err)
	}
	for i, made := range []struct {
		cert, key string
		template  x509.Certificate
	}{
		{"ca.crt", "ca-key.pem", x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "authority"}}},
		{"server.pem", "server-key.pem", x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
		{"client.cert", "client.key", x509.Certificate{URIs: []*url.URL{spiffe}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := made.template
		template.SerialNumber = big.NewInt(int64(i + 1))
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if authority == nil {
			authority, authorityKey = &template, key
		}
		cert, err := x509.CreateCertificate(rand.Reader, &template, authority, key.Public(), authorityKey)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{made.cert: {Type: "CERTIFICATE", Bytes: cert}, made.key: {Type: "EC PRIVATE KEY", Bytes: encoded}} {
			if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// A machine pushes with its certificate and nothing else, as skopeo and curl send one.
func TestAMachineSignsInByCertificate(t *testing.T) {
	dir := certificates(t)
	s := server.Start(t, server.Options{Caddyfile: fmt.Sprintf(byCertificate, dir), Scheme: "https"})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	r, h := registry{s, c}, newHome(t)
	first, other := unique(t), unique(t)
	ref := "docker://" + r.ref("team/app:v1")
	authority := filepath.Join(t.TempDir(), "authority")
	if err := os.Mkdir(authority, 0o700); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(authority, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	push := func(certDir, from string) error {
		return command(t, h, "skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-cert-dir", certDir, "dir:"+from, ref)
	}
	if err := push(authority, writeDirectory(t, first)); err == nil {
		t.Error("a caller without a certificate pushed")
	}
	if err := push(dir, writeDirectory(t, first)); err != nil {
		t.Fatalf("push: %v", err)
	}
	r.holds(t, "team/app", "v1", digestOf(t, first))
	if err := push(dir, writeDirectory(t, other)); err == nil || !denied.MatchString(err.Error()) {
		t.Errorf("an overwrite: got %v, want it denied", err)
	}
	if err := command(t, h, "skopeo", "--insecure-policy", "copy", "--src-cert-dir", authority, ref, "dir:"+t.TempDir()); err != nil {
		t.Errorf("pull without a certificate: %v", err)
	}

	curl := func(args ...string) string {
		t.Helper()
		return h.run(t, "curl", append([]string{"-sS", "--cacert", filepath.Join(dir, "ca.crt")}, args...)...)
	}
	with := []string{"--cert", filepath.Join(dir, "client.cert"), "--key", filepath.Join(dir, "client.key")}
	if got := curl(append(with, "-X", "DELETE", s.URL+"/v2/team/app/manifests/v1")...); !strings.Contains(got, "DENIED") || !strings.Contains(got, "spiffe://example.org/zot-ci") {
		t.Errorf("a deletion: got %s, want it denied to the machine by its name", got)
	}
	if got := curl(append(with, s.URL+"/token")...); !strings.Contains(got, `"expires_in":300`) {
		t.Errorf("/token: got %s, want a token for five minutes", got)
	}
	if got := curl("-o", "/dev/null", "-w", "%{http_code}", s.URL+"/v2/"); got != "401" {
		t.Errorf("ping without a certificate: got %s, want 401", got)
	}
}
