package config

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/policies"
)

// unmarshalMirror reads one mirror of the block oci, whose option's name was consumed.
func (r *Registry) unmarshalMirror(d *caddyfile.Dispenser) error {
	var name string
	if !d.AllArgs(&name) {
		return d.ArgErr()
	}
	if r.Mirrors[name] != nil {
		return d.Errf("duplicate mirror %s", name)
	}
	if r.Mirrors == nil {
		r.Mirrors = map[string]*Mirror{}
	}
	r.Mirrors[name] = new(Mirror)
	return r.Mirrors[name].UnmarshalCaddyfile(d)
}

// UnmarshalCaddyfile reads the block of a mirror, which may be missing. Syntax:
//
//	mirror <host> {
//	    upstream           <url...>
//	    credentials        <user> <secret>
//	    credentials_file   <docker config>
//	    ttl                <duration>
//	    max_stale          <duration>
//	    not_found_ttl      <duration>
//	    gone               serve|drop
//	    keep               <duration>
//	    max_size           <size>
//	    head_timeout       <duration>
//	    connect_timeout    <duration>
//	    stall_timeout      <duration>
//	    breaker            <duration>
//	    max_connections    <number>
//	    ca                 <pem>
//	    client_certificate <pem> <key>
//	    allow_private      <cidr|host:port...>
//	    allow              <globs...>
//	    deny               <globs...>
//	    private            <globs...> to <who>
//	}
//
// upstream, allow_private, allow, deny and private may be repeated; <who> is as in a
// rule of the policy.
func (m *Mirror) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return option.Block(d, "mirror", option.Options{
		"upstream":           option.List(&m.Upstreams).Repeated(),
		"credentials":        option.Func(m.unmarshalCredentials),
		"credentials_file":   option.Once(&m.CredentialsFile),
		"ttl":                option.Duration(&m.TTL),
		"max_stale":          option.Duration(&m.MaxStale),
		"not_found_ttl":      option.Duration(&m.NotFoundTTL),
		"gone":               option.Once(&m.Gone).Check(m.checkGone),
		"keep":               option.Duration(&m.Keep),
		"max_size":           option.Size(&m.MaxSize),
		"head_timeout":       option.Duration(&m.HeadTimeout),
		"connect_timeout":    option.Duration(&m.ConnectTimeout),
		"stall_timeout":      option.Duration(&m.StallTimeout),
		"breaker":            option.Duration(&m.Breaker),
		"max_connections":    option.Number(&m.MaxConnections, 1),
		"ca":                 option.Once(&m.CA),
		"client_certificate": option.Certificate(&m.ClientCertificate),
		"allow_private":      option.List(&m.AllowPrivate).Repeated(),
		"allow":              option.List(&m.Allow).Repeated(),
		"deny":               option.List(&m.Deny).Repeated(),
		"private":            option.Func(m.unmarshalPrivate).Repeated(),
	})
}

func (m *Mirror) unmarshalCredentials(d *caddyfile.Dispenser) error {
	m.Credentials = new(Credentials)
	if !d.AllArgs(&m.Credentials.User, &m.Credentials.Secret) {
		return d.ArgErr()
	}
	if err := option.CheckSecret(m.Credentials.Secret); err != nil {
		return d.Errf("credentials: %v", err)
	}
	return nil
}

func (m *Mirror) unmarshalPrivate(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	to := slices.Index(args, "to")
	if to < 1 {
		return d.Err("private: write: private <globs...> to <who>")
	}
	who, rest, err := policies.ParseSubject(args[to+1:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unexpected %q after %s", rest[0], who)
	}
	if err != nil {
		return d.Errf("private: %v", err)
	}
	m.Private = append(m.Private, Reveal{On: args[:to], To: who.String()})
	return nil
}

var _ caddyfile.Unmarshaler = (*Mirror)(nil)
