package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/core/upstream"
)

func dur(d caddy.Duration) time.Duration { return time.Duration(d) }

// resolve replaces placeholders. Errors name the placeholder, never what it holds.
func resolve(option, text string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err == nil && strings.TrimSpace(value) == "" {
		err = fmt.Errorf("%s is empty", text)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return value, nil
}

// readSecrets completes an upstream's configuration with what is read at the start.
func (m *Mirror) readSecrets(c *upstream.Config) (err error) {
	if m.Credentials != nil {
		if c.User, err = resolve("credentials", m.Credentials.User); err != nil {
			return err
		}
		if c.Secret, err = resolve("credentials", m.Credentials.Secret); err != nil {
			return err
		}
	}
	if m.CredentialsFile != "" {
		if c.CredentialsFile, err = resolve("credentials_file", m.CredentialsFile); err != nil {
			return err
		}
	}
	if c.CA, _, err = authorities(m.CA); err != nil {
		return err
	}
	c.Certificate, err = m.ClientCertificate.load()
	return err
}

// authorities reads the file of an option ca, and returns what it holds, too. Without
// a file it returns nil, which means the system's authorities.
func authorities(path string) (pool *x509.CertPool, pem []byte, err error) {
	if path == "" {
		return nil, nil, nil
	}
	if pem, err = os.ReadFile(path); err != nil {
		return nil, nil, fmt.Errorf("ca: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("ca: %s has no certificate in PEM", path)
	}
	return pool, pem, nil
}

// load reads the pair; nil has none.
func (c *ClientCertificate) load() (*tls.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	return &pair, nil
}
