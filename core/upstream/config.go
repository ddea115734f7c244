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

// Defaults of the options that a mirror's configuration leaves out.
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
	// Name is the registry's name in image references, as docker.io. The docker
	// config file is searched for it.
	Name string
	// URLs are tried in order: scheme, host and port, and nothing else. Their
	// hosts and ports may be private addresses, because the operator wrote them.
	URLs []string
	// User and Secret raise limits and show private content. Empty: anonymous.
	User, Secret string
	// CredentialsFile is a docker config file with an entry for Name, read by New.
	// It is not asked when User is set.
	CredentialsFile string

	// HeadTimeout bounds a Head or an Attest as a whole. Default 5s.
	HeadTimeout time.Duration
	// ConnectTimeout bounds the TCP connection and, once more, the TLS handshake.
	// Default 5s.
	ConnectTimeout time.Duration
	// StallTimeout is how long an answer may bring no byte. Default 30s.
	StallTimeout time.Duration
	// Breaker is how long an upstream that failed is left alone. Default 30s.
	Breaker time.Duration
	// MaxConnections bounds the blobs in transfer at once. Default 32. One caller may
	// have three quarters of them, and one repository of a caller half.
	MaxConnections int

	// CA replaces the system's certificate authorities.
	CA *x509.CertPool
	// Certificate is presented to the hosts of URLs that ask for one, and to no
	// other host.
	Certificate *tls.Certificate
	// AllowPrivate lists where a realm or a redirect may lead although it is not
	// public: CIDRs, and host:port pairs. A host:port pair may also receive the
	// credentials. Whatever is listed here can be reached by whoever controls the
	// upstream. Default none.
	AllowPrivate []string

	// Dial replaces the network, for tests. Default: the machine's.
	Dial Dialer
	// Log hears once of credentials that were refused. Default: nowhere.
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
		return nil, fmt.Errorf("upstream url with host %q: credentials belong in their own option", u.Host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("upstream url %q: the scheme is neither https nor http", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("upstream url %q: there is no host", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("upstream url %q: only scheme, host and port are allowed", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}
