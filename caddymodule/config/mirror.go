package config

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Mirror configures a pull-through cache of another registry: requested content is fetched
// once, kept, and also served while that registry cannot be reached. Its images are under the
// mirror's name, such as docker.io/library/nginx.
type Mirror struct {
	// Upstreams are the URLs of the registry, tried in order. Their hosts may be
	// private. Default: https:// and the mirror's name; for docker.io,
	// https://registry-1.docker.io.
	Upstreams []string `json:"upstream,omitempty"`

	// Credentials raise the limits of the upstream. They do not widen access to content that it
	// hides. Default: none.
	Credentials *Credentials `json:"credentials,omitempty"`
	// CredentialsFile is a docker config file with an entry for the mirror, read at
	// the start. Default: none.
	CredentialsFile string `json:"credentials_file,omitempty"`

	// TTL is how long a tag is served without asking the upstream. Default: 5m.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// MaxStale is how long after its last check a tag is served while the upstream cannot be
	// reached. Default: 30d.
	MaxStale caddy.Duration `json:"max_stale,omitempty"`
	// NotFoundTTL is how long "not found" is remembered. Default: 10s.
	NotFoundTTL caddy.Duration `json:"not_found_ttl,omitempty"`

	// Gone configures the handling of a stored tag that the upstream has deleted: "serve"
	// continues to serve it, with a Warning, while the upstream lets anonymous callers into its
	// repository, and "drop" does not. Default: serve.
	Gone string `json:"gone,omitempty"`

	// Keep is how long an image is kept after its last pull. Default: 90d.
	Keep caddy.Duration `json:"keep,omitempty"`
	// MaxSize is how much the mirror may hold, such as 200GiB, with each blob counted once.
	// Content that was pulled within the grace of gc may exceed it. Default: as much as the
	// disk holds.
	MaxSize string `json:"max_size,omitempty"`

	// HeadTimeout bounds the check of a tag. Default: 5s.
	HeadTimeout caddy.Duration `json:"head_timeout,omitempty"`
	// ConnectTimeout bounds the TCP connection, and again the TLS handshake.
	// Default: 5s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// StallTimeout is the longest time without a byte from an answer. Default: 30s.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`
	// Breaker is how long no request is sent to an upstream that failed. Default: 30s.
	Breaker caddy.Duration `json:"breaker,omitempty"`
	// MaxConnections bounds the blobs in transfer at once. Default: 32.
	MaxConnections int `json:"max_connections,omitempty"`

	// CA is a file of certificates, in PEM, that replaces the system's authorities
	// for this upstream. Default: the system's.
	CA string `json:"ca,omitempty"`
	// ClientCertificate is presented to the upstream's own hosts. Default: none.
	ClientCertificate *option.ClientCertificate `json:"client_certificate,omitempty"`
	// AllowPrivate are the private addresses to which realms and redirects of the upstream may
	// lead: CIDRs, and host:port pairs. A host:port pair may also get the credentials. A party
	// that controls the upstream can reach the listed addresses. Default: none.
	AllowPrivate []string `json:"allow_private,omitempty"`

	// Allow and Deny are patterns of the names that the mirror serves, such as library/** or
	// docker.io/library/**. Names that Deny matches are refused, even if their content is
	// stored. With an Allow, so are names that it does not match. Default: all are served.
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`

	// Private lists the callers that may read content that the upstream serves only with
	// Credentials. Default: none.
	Private []Reveal `json:"private,omitempty"`
}

// Reveal is one line of Mirror.Private.
type Reveal struct {
	// On are patterns of names, as in Mirror.Allow.
	On []string `json:"on"`
	// To is "anonymous", "signed_in", "user <name>", "group <name>", or
	// "key <id or label>", as in Rule.Who.
	To string `json:"to"`
}

// Credentials are a login at an upstream.
type Credentials struct {
	// User may have placeholders.
	User string `json:"user"`
	// Secret is a placeholder, such as {env.HUB_TOKEN} or {file./run/secrets/hub},
	// which is resolved at the start and is not part of the configuration.
	Secret string `json:"secret"`
}

// dockerHubURL is the address of the registry of namespace.DockerHub.
const dockerHubURL = "https://registry-1.docker.io"

// checkMirror checks a mirror and compares its name with the registry's own host names. It
// resolves no secret, reads no file and dials nothing.
func (r *Registry) checkMirror(name string, hosts []string) error {
	if _, err := core.ParseName(name); err != nil || strings.Contains(name, "/") || namespace.CanonicalHost(name) != name {
		return fmt.Errorf("the name of a mirror is a host without a port, in lower case, such as ghcr.io; set its address with the option upstream")
	}
	if usual := namespace.AliasOf(name); usual != "" {
		return fmt.Errorf("it is another name of %s: write mirror %s, which serves both names", usual, usual)
	}
	if slices.Contains(hosts, name) {
		return fmt.Errorf("it is also a name of this registry, in url or hostnames: requests with ns=%s would be ambiguous", name)
	}
	for _, glob := range r.Private {
		// * and ** mean all names that no mirror has.
		first, _, _ := strings.Cut(glob, "/")
		if first == "*" || first == "**" {
			continue
		}
		for _, host := range append(namespace.Aliases(name), name) {
			if same, err := path.Match(first, host); err == nil && same || strings.ContainsRune(first, '{') && (globs.Globs{glob}).Match(host) {
				return fmt.Errorf("private %s claims names of it, and a name is either private or a mirror's", glob)
			}
		}
	}
	if err := r.Mirrors[name].check(); err != nil {
		return err
	}
	if _, _, err := r.Mirrors[name].names(name); err != nil {
		return err
	}
	if _, err := r.Mirrors[name].reveals(name); err != nil {
		return err
	}
	// The packages that use addresses and URLs check them.
	_, err := upstream.New(r.Mirrors[name].upstream(name))
	return err
}

func (m *Mirror) check() error {
	for _, d := range []struct {
		option string
		value  caddy.Duration
	}{
		{"ttl", m.TTL}, {"max_stale", m.MaxStale}, {"not_found_ttl", m.NotFoundTTL}, {"head_timeout", m.HeadTimeout},
		{"connect_timeout", m.ConnectTimeout}, {"stall_timeout", m.StallTimeout}, {"breaker", m.Breaker}, {"keep", m.Keep},
		{"max_connections", caddy.Duration(m.MaxConnections)},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s is negative", d.option)
		}
	}
	if _, err := m.maxSize(); err != nil {
		return fmt.Errorf("max_size: %w", err)
	}
	if err := m.checkGone(); err != nil {
		return fmt.Errorf("gone: %w", err)
	}
	if m.Credentials != nil {
		if m.CredentialsFile != "" {
			return fmt.Errorf("credentials and credentials_file: use one of them")
		}
		if m.Credentials.User == "" {
			return fmt.Errorf("credentials: the user is empty")
		}
		if err := option.CheckSecret(m.Credentials.Secret); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	if c := m.ClientCertificate; c != nil && (c.Certificate == "" || c.Key == "") {
		return fmt.Errorf("client_certificate: a certificate and a key are required")
	}
	return nil
}

// checkGone checks the value of the option gone.
func (m *Mirror) checkGone() error {
	if m.Gone != "" && m.Gone != "serve" && m.Gone != "drop" {
		return fmt.Errorf("%q must be serve or drop", m.Gone)
	}
	return nil
}

// upstream returns the client's configuration, without the parts that are read at the start.
func (m *Mirror) upstream(name string) upstream.Config {
	urls := m.Upstreams
	if len(urls) == 0 && name == namespace.DockerHub {
		urls = []string{dockerHubURL}
	} else if len(urls) == 0 {
		urls = []string{"https://" + name}
	}
	return upstream.Config{
		Name: name, URLs: urls,
		HeadTimeout: dur(m.HeadTimeout), ConnectTimeout: dur(m.ConnectTimeout),
		StallTimeout: dur(m.StallTimeout), Breaker: dur(m.Breaker),
		MaxConnections: m.MaxConnections, AllowPrivate: m.AllowPrivate,
	}
}

// settings returns the settings that may change while the mirror serves.
func (m *Mirror) settings(name string, private globs.Globs) mirror.Settings {
	s := mirror.Settings{TTL: dur(m.TTL), MaxStale: dur(m.MaxStale), NotFoundTTL: dur(m.NotFoundTTL), DropGone: m.Gone == "drop"}
	s.Allow, s.Deny, _ = m.names(name) // checkMirror has reported the error
	if len(private) > 0 {
		s.PushTo = private.String()
	}
	return s
}

// Credentialed reports whether the upstream may serve the mirror more than anonymous callers.
func (m *Mirror) Credentialed() bool {
	return m.Credentials != nil || m.CredentialsFile != "" || m.ClientCertificate != nil
}
