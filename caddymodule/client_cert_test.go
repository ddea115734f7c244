package caddymodule_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// authority signs certificates.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	made := a.sign(template)
	a.cert, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign completes a certificate. The first is the authority's own.
func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		a.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client makes a certificate for a machine.
func (a *authority) client(template x509.Certificate) *tls.Certificate {
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	made := a.sign(&template)
	return &made
}

// files writes a certificate and its key.
func (a *authority) files(made tls.Certificate) (cert, key string) {
	a.Helper()
	dir := a.TempDir()
	der, err := x509.MarshalECPrivateKey(made.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		a.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: made.Certificate[0]},
		key: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	return cert, key
}

// mutual loads a registry at https://localhost:port that asks for certificates.
func (a *authority) mutual(port int, mode, block, site string) {
	a.Helper()
	server := a.sign(&x509.Certificate{DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	cert, key := a.files(server)
	ca, _ := a.files(tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key})
	registrytest.Load(a.T, fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 2s
	oci {
		storage file %s
		local_user erich %s admins
		%s
		policy {
			allow anonymous read
			allow group robots create
			allow group admins *
		}
	}
}
https://localhost:%d {
	bind 127.0.0.1
	tls %s %s {
		client_auth {
			mode %s
			trust_pool file %s
		}
	}
	metrics /metrics
	oci_registry {
		%s
	}
}
`, a.TempDir(), registrytest.PasswordHash(), block, port, cert, key, mode, ca, site))
}

// caller asks with a certificate, or without one, on a connection of its own.
func (a *authority) ask(
	port int, cert *tls.Certificate, method, path string, fields ...string,
) (status int, body string, err error) {
	a.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if cert != nil {
		// Also to a server that does not name its issuer.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", port))
			}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(method, fmt.Sprintf("https://localhost:%d%s", port, path), nil)
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

func uri(text string) []*url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return []*url.URL{u}
}

const robots = "client_cert {\n user %s\n groups robots\n }"

func TestACertificateSaysWhoItIs(t *testing.T) {
	a, port := newAuthority(t), registrytest.FreePort(t)
	dns := x509.Certificate{DNSNames: []string{"ci.example.org", "other.example.org"},
		Subject: pkix.Name{CommonName: "ci"}}
	all := x509.Certificate{
		URIs: uri("spiffe://example.org/ci"), DNSNames: []string{"ci.example.org"},
		EmailAddresses: []string{"ci@example.org"}, Subject: pkix.Name{CommonName: "ci"},
	}
	for _, row := range []struct {
		user, name string
		cert       x509.Certificate
		want       string // the user, or a part of why not
		status     int    // of a deletion, which names who may not
	}{
		{"san", "a URI before others", all, "spiffe://example.org/ci", http.StatusForbidden},
		{"san", "the first DNS name", dns, "ci.example.org", http.StatusForbidden},
		{"san", "an e-mail address", x509.Certificate{EmailAddresses: []string{"ci@example.org"}}, "ci@example.org",
			http.StatusForbidden},
		{"san", "an IP address alone",
			x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, Subject: pkix.Name{CommonName: "ci"}},
			"no URI, DNS name or e-mail", http.StatusUnauthorized},
		{"san", "what only a workload is called", x509.Certificate{URIs: uri("workload:forge")}, "workload",
			http.StatusUnauthorized},
		{"san", "a long name", x509.Certificate{URIs: uri("spiffe://example.org/" + strings.Repeat("x", 120))},
			"1 to 120 bytes", http.StatusUnauthorized},
		{"cn", "a common name", all, "user ci ", http.StatusForbidden},
		{"cn", "no common name", x509.Certificate{DNSNames: []string{"ci"}}, "no common name", http.StatusUnauthorized},
		{"cn", "a name of two lines", x509.Certificate{Subject: pkix.Name{CommonName: "a\nb"}}, "control character",
			http.StatusUnauthorized},
	} {
		t.Run(row.user+" "+row.name, func(t *testing.T) {
			a := &authority{T: t, cert: a.cert, key: a.key, n: 1}
			a.mutual(port, "verify_if_given", fmt.Sprintf(robots, row.user), "")
			cert := a.client(row.cert)
			status, body, err := a.ask(port, cert, "DELETE", "/v2/team/app/manifests/v1")
			if err != nil || status != row.status ||
				!strings.Contains(body, strings.TrimSpace(strings.TrimPrefix(row.want, "user "))) {
				t.Errorf("got %d %s, %v; want %d with %s", status, body, err, row.status, row.want)
			}
			pushed := http.StatusAccepted
			if row.status == http.StatusUnauthorized {
				pushed = http.StatusUnauthorized
			}
			if status, body, err := a.ask(port, cert, "POST", "/v2/team/app/blobs/uploads/"); status != pushed {
				t.Errorf("a push: got %d %s, %v; want %d", status, body, err, pushed)
			}
		})
	}
}

// Only a certificate that TLS has verified counts, and an Authorization field takes
// precedence.
func TestWhichCertificatesCount(t *testing.T) {
	a, port := newAuthority(t), registrytest.FreePort(t)
	stranger := newAuthority(t)
	ours := a.client(x509.Certificate{DNSNames: []string{"ci"}})
	const push, pull = "POST /v2/team/app/blobs/uploads/", "GET /v2/_catalog"
	type row struct {
		name   string
		cert   *tls.Certificate
		what   string
		status int // 0: the handshake fails
		fields []string
	}
	for mode, rows := range map[string][]row{
		"verify_if_given": {
			{"nobody pulls", nil, pull, http.StatusOK, nil},
			{"nobody pushes", nil, push, http.StatusUnauthorized, nil},
			{"a machine pushes", ours, push, http.StatusAccepted, nil},
			{"a machine pings", ours, "GET /v2/", http.StatusOK, nil},
			{"a stranger", stranger.client(x509.Certificate{DNSNames: []string{"ci"}}), pull, 0, nil},
			{"an expired one",
				a.client(x509.Certificate{DNSNames: []string{"ci"}, NotAfter: time.Now().Add(-time.Minute)}),
				pull, 0, nil},
			{"a machine that says to be nobody", ours, push, http.StatusUnauthorized,
				[]string{"Authorization", registrytest.Basic("", "")}},
			{"a machine with a wrong key", ours, pull, http.StatusUnauthorized,
				[]string{"Authorization", registrytest.Basic("ci", "wrong")}},
			{"a machine with a scheme that is none", ours, pull, http.StatusUnauthorized,
				[]string{"Authorization", "Digest x"}},
			{"through a proxy", ours, push, http.StatusUnauthorized, []string{"X-Forwarded-For", "192.0.2.1"}},
			{"through a proxy that says Via", ours, push, http.StatusUnauthorized, []string{"Via", "1.1 proxy"}},
			{"on a page", ours, "GET /user/apikey", http.StatusSeeOther, nil},
		},
		"require_and_verify": {
			{"nobody", nil, pull, 0, nil},
			{"a machine pushes", ours, push, http.StatusAccepted, nil},
			{"a stranger", stranger.client(x509.Certificate{DNSNames: []string{"ci"}}), pull, 0, nil},
		},
		// These ask for a certificate and do not look at who signed it.
		"request": {
			{"one of ours", ours, push, http.StatusUnauthorized, nil},
			{"a stranger", stranger.client(x509.Certificate{DNSNames: []string{"ci"}}), push,
				http.StatusUnauthorized, nil},
		},
		"require": {
			{"one of ours", ours, push, http.StatusUnauthorized, nil},
		},
	} {
		t.Run(mode, func(t *testing.T) {
			a := &authority{T: t, cert: a.cert, key: a.key, n: 100}
			a.mutual(port, mode, fmt.Sprintf(robots, "san"), "")
			for _, row := range rows {
				method, path, _ := strings.Cut(row.what, " ")
				status, body, err := a.ask(port, row.cert, method, path, row.fields...)
				if status != row.status || (err != nil) != (row.status == 0) {
					t.Errorf("%s: got %d %s, %v; want %d", row.name, status, body, err, row.status)
				}
			}
		})
	}
}

func TestATokenOfACertificate(t *testing.T) {
	a, port := newAuthority(t), registrytest.FreePort(t)
	a.mutual(port, "verify_if_given", fmt.Sprintf(robots, "san"), "")
	ours := a.client(x509.Certificate{URIs: uri("spiffe://example.org/ci")})
	ending := a.client(x509.Certificate{DNSNames: []string{"ending"}, NotAfter: time.Now().Add(200 * time.Second)})
	ask := func(status int, cert *tls.Certificate, method, path string, fields ...string) string {
		t.Helper()
		got, body, err := a.ask(port, cert, method, path, fields...)
		if err != nil || got != status {
			t.Fatalf("%s %s: got %d %s, %v; want %d", method, path, got, body, err, status)
		}
		return body
	}
	const push = "/v2/team/app/blobs/uploads/"
	body := ask(http.StatusOK, ours, "GET", "/token?scope=repository:team/app:pull,push")
	if !strings.Contains(body, `"expires_in":300`) {
		t.Errorf("got %s, want a token for five minutes", body)
	}
	bearer := "Bearer " + registrytest.Token(t, []byte(body))
	ask(http.StatusAccepted, nil, "POST", push, "Authorization", bearer) // it carries the groups
	if got := ask(http.StatusForbidden, nil, "DELETE", "/v2/team/app/manifests/v1",
		"Authorization", bearer); !strings.Contains(got, "spiffe://example.org/ci") {
		t.Errorf("got %s, want it to name the machine", got)
	}
	var short struct {
		ExpiresIn int `json:"expires_in"`
	}
	body = ask(http.StatusOK, ending, "GET", "/token")
	if err := json.Unmarshal([]byte(body), &short); err != nil || short.ExpiresIn > 200 {
		t.Errorf("got %s, %v; want a token that ends with the certificate", body, err)
	}
	if body := ask(http.StatusOK, nil, "GET", "/metrics"); !strings.Contains(body,
		`registry_logins_total{method="client_cert",result="ok"}`) {
		t.Error("logins by certificate are not counted")
	}

	// A field decides: this is erich, and not the machine.
	body = ask(http.StatusOK, ours, "GET", "/token", "Authorization",
		registrytest.Basic("erich", registrytest.Password))
	ask(http.StatusNotFound, nil, "DELETE", "/v2/team/app/manifests/v1",
		"Authorization", "Bearer "+registrytest.Token(t, []byte(body)))
	key, _, err := registrytest.Callers(t).Identity.Keys().Create(t.Context(),
		identity.NewKey{User: "reader", Service: true, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	ask(http.StatusForbidden, ours, "POST", push, "Authorization", "Bearer "+key)

	// Groups are the configuration's only at /token; who is disabled is out at once.
	if _, err := registrytest.Callers(t).Identity.Users().SetDisabled(t.Context(), "spiffe://example.org/ci",
		true); err != nil {
		t.Fatal(err)
	}
	ask(http.StatusUnauthorized, ours, "GET", "/v2/_catalog")
	ask(http.StatusUnauthorized, nil, "GET", "/v2/_catalog", "Authorization", bearer)
	ask(http.StatusUnauthorized, ours, "GET", "/token")

	// On a site for reading nobody is known.
	a.mutual(port, "verify_if_given", fmt.Sprintf(robots, "san"), "read_only")
	ask(http.StatusOK, ours, "GET", "/v2/_catalog")
	ask(http.StatusForbidden, ours, "POST", push)
}

func TestClientCertIsChecked(t *testing.T) {
	for _, row := range []struct{ name, block, want string }{
		{"nothing said", "client_cert", ""},
		{"all of it", "client_cert {\nuser cn\ngroups a b\ngroups c\n}", ""},
		{"another part", "client_cert {\ngroups a\nuser dn\n}", "Caddyfile:6"},
		{"an unknown option", "client_cert {\nca x\n}", "Caddyfile:5"},
		{"an argument", "client_cert san", "Caddyfile:4"},
		{"user twice", "client_cert {\nuser cn\nuser cn\n}", "Caddyfile:6"},
		{"a group that is none", "client_cert {\ngroups \" \"\n}", "Caddyfile:5"},
		{"two of them", "client_cert\nclient_cert", "Caddyfile:5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := registrytest.AdaptError("{\noci {\nurl https://a\n" + row.block + "\n}\n}")
			if row.want == "" && err != nil || row.want != "" &&
				(err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	for config, want := range map[string]string{
		`[{"module": "client_cert", "user": "dn"}]`:                  "san or cn",
		`[{"module": "client_cert", "groups": [""]}]`:                "invalid group name",
		`[{"module": "client_cert"}, {"module": "client_cert"}]`:     "duplicate option client_cert",
		`[{"module": "client_cert", "user": "san", "subject": "x"}]`: "subject",
	} {
		if err := registrytest.Validate(t, `{"apps": {"oci": {"authenticators": `+config+`}}}`); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", config, err, want)
		}
	}
	if !bytes.Contains(registrytest.Adapt(t, "{\noci {\nclient_cert {\nuser cn\ngroups a\n}\n}\n}"),
		[]byte(`"authenticators":[{"groups":["a"],"module":"client_cert","user":"cn"}]`)) {
		t.Error("the Caddyfile means something else")
	}
}
