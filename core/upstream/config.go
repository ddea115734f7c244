package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Defaults of the options of a mirror.
const (
	DefaultHeadTimeout    = 5 * time.Second
	DefaultConnectTimeout = 5 * time.Second
	DefaultStallTimeout   = 30 * time.Second
	DefaultBreaker        = 30 * time.Second
	DefaultMaxConnections = 32
)

// Config is one mirror's upstream. The zero value of every field but Name and
// URLs is usable.
type Config struct {
	// Name is the registry's name in image references, such as docker.io. The
	// docker config file is searched for it.
	Name string
	// URLs are tried in order. They have only scheme, host and port. Their hosts
	// and ports may be private addresses, because the operator wrote them.
	URLs []string
	// User and Secret raise limits and show private content. Empty: anonymous.
	User, Secret string
	// CredentialsFile is a docker config file with an entry for Name, read by New.
	// It is ignored if User is set.
	CredentialsFile string

	// HeadTimeout bounds a Head or an Attest as a whole. Default 5s.
	HeadTimeout time.Duration
	// ConnectTimeout bounds the TCP connection and, once more, the TLS handshake.
	// Default 5s.
	ConnectTimeout time.Duration
	// StallTimeout is how long an answer may go without a byte. Default 30s.
	StallTimeout time.Duration
	// Breaker is how long an upstream that failed is not asked. Default 30s.
	Breaker time.Duration
	// MaxConnections bounds the blobs in transfer at once. Default 32. One caller may
	// have three quarters of them, and one repository of a caller half.
	MaxConnections int

	// CA replaces the system's certificate authorities.
	CA *x509.CertPool
	// Certificate is presented only to the hosts of URLs that ask for one.
	Certificate *tls.Certificate
	// AllowPrivate lists non-public addresses to which a realm or a redirect may
	// lead: CIDRs, and host:port pairs. A host:port pair may also receive the
	// credentials. An attacker who controls the upstream can reach everything
	// listed here. Default none.
	AllowPrivate []string

	// Dial replaces the network, for tests. Default: the machine's.
	Dial Dialer
	// Log gets one line about credentials that were refused. Default: discard.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.HeadTimeout, DefaultHeadTimeout)
	setDefault(&c.ConnectTimeout, DefaultConnectTimeout)
	setDefault(&c.StallTimeout, DefaultStallTimeout)
	setDefault(&c.Breaker, DefaultBreaker)
	setDefault(&c.MaxConnections, DefaultMaxConnections)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// parseBase reads one of Config.URLs.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats the text, which may hold a password by mistake.
		return nil, errors.New("upstream url: not a URL")
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("upstream url with host %q: use the options for credentials, not the URL", u.Host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("upstream url %q: the scheme must be https or http", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("upstream url %q: missing host", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("upstream url %q: only scheme, host and port are allowed", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}
