package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/core/upstream"
)

func dur(d caddy.Duration) time.Duration { return time.Duration(d) }

// errBareSecret is a secret that stands in the configuration, from where the admin
// endpoint and the autosaved file would show it. {$NAME} ends there too.
var errBareSecret = errors.New("the secret must be a placeholder, such as {env.NAME} or {file./run/secrets/name}, so that it is not in the configuration")

// checkSecret checks how a secret is written, without resolving it.
func checkSecret(text string) error {
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		return errBareSecret
	}
	return nil
}

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
	if m.CA != "" {
		pem, err := os.ReadFile(m.CA)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		c.CA = x509.NewCertPool()
		if !c.CA.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca: %s has no certificate in PEM", m.CA)
		}
	}
	if m.ClientCertificate != nil {
		pair, err := tls.LoadX509KeyPair(m.ClientCertificate.Certificate, m.ClientCertificate.Key)
		if err != nil {
			return fmt.Errorf("client_certificate: %w", err)
		}
		c.Certificate = &pair
	}
	return nil
}
