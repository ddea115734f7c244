package config

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/upstream"
)

func dur(d caddy.Duration) time.Duration { return time.Duration(d) }

// readSecrets completes an upstream's configuration with the secrets and files that are read at
// the start.
func (m *Mirror) readSecrets(c *upstream.Config) (err error) {
	if m.Credentials != nil {
		if c.User, err = option.Resolve("credentials", m.Credentials.User); err != nil {
			return err
		}
		if c.Secret, err = option.Resolve("credentials", m.Credentials.Secret); err != nil {
			return err
		}
	}
	if m.CredentialsFile != "" {
		if c.CredentialsFile, err = option.Resolve("credentials_file", m.CredentialsFile); err != nil {
			return err
		}
	}
	if c.CA, _, err = option.Authorities(m.CA); err != nil {
		return err
	}
	c.Certificate, err = m.ClientCertificate.Load()
	return err
}

// Client makes a client of the upstream. It reads the secrets, and makes no request.
func (m *Mirror) Client(name string) (*upstream.Client, error) {
	config := m.upstream(name)
	if err := m.readSecrets(&config); err != nil {
		return nil, err
	}
	return upstream.New(config)
}
