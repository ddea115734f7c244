package cache

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/mirror"
)

// The memory before Redis is as large as is said, as that of cache memory.
func TestCacheHasAMemoryOfItsSize(t *testing.T) {
	for size, want := range map[string]int64{"": 256 << 20, "64MiB": 64 << 20, "1GB": 1e9} {
		if got := (&Redis{Size: size}).Memory(); got != want {
			t.Errorf("redis of size %q: got %d bytes, want %d", size, got, want)
		}
		memory := &Memory{Size: size}
		if err := memory.Provision(caddy.Context{}); err != nil || memory.Memory() != want {
			t.Errorf("memory of size %q: got %d bytes and %v, want %d", size, memory.Memory(), err, want)
		}
	}
	if err := (&Redis{Size: "much"}).Validate(); err == nil || !strings.Contains(err.Error(), "size") {
		t.Errorf("a size that is none: got %v", err)
	}
}

// The key of the pool has all options of a connection: a reload does not keep an old
// password, authority or secret.
func TestARedisIsPooledByAllThatItIs(t *testing.T) {
	t.Setenv("CACHE_TEST_PASSWORD", "hunter2")
	t.Setenv("CACHE_TEST_OTHER", "hunter3")
	t.Setenv("CACHE_TEST_SECRET", "a secret that several registries have")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := func() { writeCA(t, ca) }
	certificate()
	base := Redis{Addresses: []string{"127.0.0.1:1"}, Secret: "{env.CACHE_TEST_SECRET}"}
	open := func(change func(*Redis)) mirror.Shared {
		c := base
		change(&c)
		shared, done, err := c.Open(nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { done() })
		return shared
	}
	withCA := func(c *Redis) { c.TLS = &TLS{CA: ca} }
	seen := map[mirror.Shared]string{}
	for name, change := range map[string]func(*Redis){
		"as it is":          func(*Redis) {},
		"address":           func(c *Redis) { c.Addresses = []string{"127.0.0.1:2"} },
		"user":              func(c *Redis) { c.User = "u" },
		"password":          func(c *Redis) { c.Password = "{env.CACHE_TEST_PASSWORD}" },
		"another password":  func(c *Redis) { c.Password = "{env.CACHE_TEST_OTHER}" },
		"db":                func(c *Redis) { c.DB = 1 },
		"prefix":            func(c *Redis) { c.Prefix = "p" },
		"secret":            func(c *Redis) { c.Secret = "{file." + ca + "}" },
		"cluster":           func(c *Redis) { c.Cluster = true },
		"sentinel":          func(c *Redis) { c.Sentinel = &Sentinel{Master: "m"} },
		"another master":    func(c *Redis) { c.Sentinel = &Sentinel{Master: "n"} },
		"sentinel's user":   func(c *Redis) { c.Sentinel = &Sentinel{Master: "m", User: "u"} },
		"sentinel's secret": func(c *Redis) { c.Sentinel = &Sentinel{Master: "m", Password: "{env.CACHE_TEST_OTHER}"} },
		"tls":               func(c *Redis) { c.TLS = new(TLS) },
		"another name":      func(c *Redis) { c.TLS = &TLS{ServerName: "n"} },
		"an authority":      withCA,
		"a client's own": func(c *Redis) {
			c.TLS = &TLS{ClientCertificate: &option.ClientCertificate{Certificate: ca, Key: ca}}
		},
	} {
		shared := open(change)
		if other := seen[shared]; other != "" {
			t.Errorf("%s: the client is that of: %s", name, other)
		}
		seen[shared] = name
		if again := open(change); again != shared {
			t.Errorf("%s: another client for the same", name)
		}
	}
	certificate() // the file holds another authority now
	if other := seen[open(withCA)]; other != "" {
		t.Errorf("a new authority: the client is that of: %s", other)
	}
}

// writeCA writes a new certificate, and its key behind it.
func writeCA(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	content := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
