package option

import (
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Resolve returns text, the value of an option, with its placeholders replaced. Errors name the
// option and the placeholder, never what it holds: one that is unknown or empty.
func Resolve(option, text string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err == nil && strings.TrimSpace(value) == "" {
		err = fmt.Errorf("%s is empty", text)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return value, nil
}

// Authorities reads the file of an option ca, and returns its text beside the pool. Without a
// path the pool is nil, which means the system's authorities.
func Authorities(path string) (pool *x509.CertPool, pem []byte, err error) {
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
