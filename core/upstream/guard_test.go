package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// trap is a service that must not be reachable from outside.
func trap(t *testing.T) (address string, hits *atomic.Int32) {
	t.Helper()
	hits = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, `{"token":"internal"}`)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), hits
}

func TestHostileUpstreamReachesNothingPrivate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(address string) upstreamtest.Fault
		allow bool
	}{
		{"by a redirect to an address", func(a string) upstreamtest.Fault {
			return upstreamtest.Fault{Status: 307, Header: header("Location", "http://"+a+"/")}
		}, false},
		{"by a redirect to a name", func(a string) upstreamtest.Fault {
			_, port, _ := net.SplitHostPort(a)
			return upstreamtest.Fault{Status: 307, Header: header("Location", "http://localhost:"+port+"/")}
		}, false},
		{"by a redirect to an address in another spelling", func(a string) upstreamtest.Fault {
			_, port, _ := net.SplitHostPort(a)
			return upstreamtest.Fault{Status: 307, Header: header("Location", "http://[::ffff:127.0.0.1]:"+port+"/")}
		}, false},
		{"by a realm", func(a string) upstreamtest.Fault {
			return upstreamtest.Fault{Status: 401, Header: header("Www-Authenticate", `Bearer realm="http://`+a+`/token",service="x"`)}
		}, false},
		{"by a redirect, unless it is allowed", func(a string) upstreamtest.Fault {
			return upstreamtest.Fault{Status: 307, Header: header("Location", "http://"+a+"/")}
		}, true},
		{"by a realm, unless it is allowed", func(a string) upstreamtest.Fault {
			return upstreamtest.Fault{Status: 401, Header: header("Www-Authenticate", `Bearer realm="http://`+a+`/token",service="x"`)}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, hits := trap(t)
			f := start(t, upstreamtest.Config{}, func(c *upstream.Config) {
				c.AllowPrivate = nil
				if tt.allow {
					c.AllowPrivate = []string{"127.0.0.0/8"}
				}
			})
			f.Fault(tt.fault(address))
			_, err := f.client.Manifest(t.Context(), repo, tag)
			if err == nil {
				t.Error("got an answer, want an error")
			}
			if reached := hits.Load() > 0; reached != tt.allow {
				t.Errorf("reached: %t, want %t (%v)", reached, tt.allow, err)
			}
			if !tt.allow && !errors.Is(err, upstream.ErrUnavailable) {
				t.Errorf("got %v, want %v", err, upstream.ErrUnavailable)
			}
		})
	}
}

// A name that was public when it was looked at may be private when it is dialled.
func TestRebindingGainsNothing(t *testing.T) {
	bubble(t, upstreamtest.Hub, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		n.Resolve(f.Storage, netip.MustParseAddr("203.0.113.3"), netip.MustParseAddr("169.254.169.254"))
		if _, _, err := readBlob(t.Context(), f.client, f.blob, 0); err != nil {
			t.Fatal(err)
		}
		_ = f.client.Close() // so that the next request dials again
		f.Forget()
		if _, _, err := readBlob(t.Context(), f.client, f.blob, 0); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, upstream.ErrUnavailable)
		}
		for _, r := range f.Recorded() {
			if r.Host == "storage" {
				t.Errorf("%s was asked at a private address", r)
			}
		}
	})
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(other string) upstreamtest.Fault
	}{
		{"when a realm is on another host", func(other string) upstreamtest.Fault {
			return upstreamtest.Fault{Status: 401, Header: header("Www-Authenticate", `Bearer realm="`+other+`/token",service="x"`)}
		}},
		{"when a redirect leads to another port", func(other string) upstreamtest.Fault {
			return upstreamtest.Fault{Path: "/manifests/", Status: 307, Header: header("Location", other)}
		}},
		{"when the token endpoint redirects", func(other string) upstreamtest.Fault {
			return upstreamtest.Fault{Host: "token", Status: 307, Header: header("Location", other+"/token")}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other := upstreamtest.New(t, upstreamtest.Config{})
			f := start(t, upstreamtest.Config{Kind: upstreamtest.GHCR}, func(c *upstream.Config) {
				c.User, c.Secret = "user", "secret"
				c.AllowPrivate = []string{"127.0.0.1/32"} // reachable, but not trusted
			})
			if _, err := f.client.Head(t.Context(), repo, tag); err != nil {
				t.Fatal(err)
			}
			f.Revoke()
			f.Fault(tt.fault(other.URL))
			_, _ = f.client.Head(t.Context(), repo, tag) // the request matters, not the answer
			for _, r := range other.Recorded() {
				if r.Auth != "" {
					t.Errorf("the other host saw %s", r)
				}
			}
		})
	}
}

// An identity token travels in the body, which a client resends after a 307.
func TestIdentityTokenStaysWithItsHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"fake":{"identitytoken":"hunter2"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	configure := func(c *upstream.Config) { c.CredentialsFile = file }
	bubble(t, upstreamtest.GHCR, configure, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
		other := upstreamtest.New(t, upstreamtest.Config{Network: n, Name: "other.test"})
		f.Fault(upstreamtest.Fault{Host: "token", Method: "POST", Status: 307, Header: header("Location", other.URL+"/token")})
		if _, err := f.client.Head(t.Context(), repo, tag); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, upstream.ErrUnavailable)
		}
		if got := other.Requests(); len(got) > 0 {
			t.Errorf("the other host saw %q", got)
		}
	})
}

func TestHTTPSIsNeverLeft(t *testing.T) {
	address, hits := trap(t)
	var answer http.HandlerFunc
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that does not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	config := upstream.Config{URLs: []string{s.URL}, CA: pool, AllowPrivate: []string{"127.0.0.0/8"}}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"by a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+address+"/", http.StatusFound)
		}},
		{"by a realm", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+address+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			_, err := open(t, config).Manifest(t.Context(), repo, tag)
			if !errors.Is(err, upstream.ErrUnavailable) || !strings.Contains(err.Error(), "from https to http") || hits.Load() != 0 {
				t.Errorf("got %v and %d requests, want a refusal", err, hits.Load())
			}
		})
	}
	t.Run("for a certificate of an unknown authority", func(t *testing.T) {
		config.CA = nil
		if _, err := open(t, config).Manifest(t.Context(), repo, tag); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, upstream.ErrUnavailable)
		}
	})
}

// The operator's own certificate is shown to the upstream, not to where it leads.
func TestClientCertificateStaysWithItsHost(t *testing.T) {
	shown := make(chan int, 2)
	see := func(next string) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			shown <- len(r.TLS.PeerCertificates)
			if next != "" {
				http.Redirect(w, r, next, http.StatusTemporaryRedirect)
			}
		}))
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	storage := see("")
	registry := see(storage.URL)
	pool := x509.NewCertPool()
	pool.AddCert(registry.Certificate()) // httptest has one for all
	u, _ := url.Parse(storage.URL)
	c := open(t, upstream.Config{
		URLs: []string{registry.URL}, CA: pool, AllowPrivate: []string{u.Host},
		Certificate: &registry.TLS.Certificates[0],
	})
	if _, err := c.Attest(t.Context(), repo, "sha256:x", -1); err != nil {
		t.Fatal(err)
	}
	if first, second := <-shown, <-shown; first != 1 || second != 0 {
		t.Errorf("got %d certificates shown to the upstream and %d to the storage, want 1 and 0", first, second)
	}
}

func TestSignedURLIsInNoError(t *testing.T) {
	f := start(t, upstreamtest.Config{}, nil)
	f.Fault(upstreamtest.Fault{Status: 307, Header: header("Location", "http://127.0.0.1:1/x?signature=hunter2")})
	_, err := f.client.Manifest(t.Context(), repo, tag)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the signature", err)
	}
}
