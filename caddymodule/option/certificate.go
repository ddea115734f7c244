package option

import (
	"crypto/tls"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// ClientCertificate names a certificate and its key, PEM files that are read at the start.
type ClientCertificate struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// Load reads the files. It returns nil for a nil ClientCertificate.
func (c *ClientCertificate) Load() (*tls.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	return &pair, nil
}

// Certificate reads the option client_certificate, <pem> <key>.
func Certificate(to **ClientCertificate) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		*to = new(ClientCertificate)
		if !d.AllArgs(&(*to).Certificate, &(*to).Key) {
			return d.ArgErr()
		}
		return nil
	})
}
