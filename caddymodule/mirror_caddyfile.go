package caddymodule

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/policies"
)

// unmarshalMirror reads one mirror of the block oci, whose option's name was consumed.
func (a *App) unmarshalMirror(d *caddyfile.Dispenser) error {
	var name string
	if !d.AllArgs(&name) {
		return d.ArgErr()
	}
	if a.Mirrors[name] != nil {
		return d.Errf("mirror %s is here twice", name)
	}
	if a.Mirrors == nil {
		a.Mirrors = map[string]*Mirror{}
	}
	a.Mirrors[name] = new(Mirror)
	return a.Mirrors[name].UnmarshalCaddyfile(d)
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
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] && !slices.Contains([]string{"upstream", "allow_private", "allow", "deny", "private"}, option) {
			return d.Errf("option %s is here twice", option)
		}
		seen[option] = true
		if err := m.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mirror) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	durations := map[string]*caddy.Duration{
		"ttl": &m.TTL, "max_stale": &m.MaxStale, "not_found_ttl": &m.NotFoundTTL,
		"keep": &m.Keep, "head_timeout": &m.HeadTimeout, "connect_timeout": &m.ConnectTimeout,
		"stall_timeout": &m.StallTimeout, "breaker": &m.Breaker,
	}
	if to, ok := durations[option]; ok {
		return durationArg(d, option, to)
	}
	switch option {
	case "upstream":
		return someArgs(d, &m.Upstreams)
	case "allow_private":
		return someArgs(d, &m.AllowPrivate)
	case "allow":
		return someArgs(d, &m.Allow)
	case "deny":
		return someArgs(d, &m.Deny)
	case "private":
		args := d.RemainingArgs()
		to := slices.Index(args, "to")
		if to < 1 {
			return d.Err("private: write: private <globs...> to <who>")
		}
		who, rest, err := policies.ParseSubject(args[to+1:])
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("what is %q behind %s?", rest[0], who)
		}
		if err != nil {
			return d.Errf("private: %v", err)
		}
		m.Private = append(m.Private, Reveal{On: args[:to], To: who.String()})
	case "credentials":
		m.Credentials = new(Credentials)
		if !d.AllArgs(&m.Credentials.User, &m.Credentials.Secret) {
			return d.ArgErr()
		}
		if err := checkSecret(m.Credentials.Secret); err != nil {
			return d.Errf("credentials: %v", err)
		}
	case "credentials_file":
		if !d.AllArgs(&m.CredentialsFile) {
			return d.ArgErr()
		}
	case "max_size":
		if !d.AllArgs(&m.MaxSize) {
			return d.ArgErr()
		}
		if _, err := m.maxSize(); err != nil {
			return d.Errf("max_size: %v", err)
		}
	case "ca":
		if !d.AllArgs(&m.CA) {
			return d.ArgErr()
		}
	case "client_certificate":
		m.ClientCertificate = new(ClientCertificate)
		if !d.AllArgs(&m.ClientCertificate.Certificate, &m.ClientCertificate.Key) {
			return d.ArgErr()
		}
	case "max_connections":
		var text string
		if !d.AllArgs(&text) {
			return d.ArgErr()
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return d.Errf("max_connections: %q is not a number of at least 1", text)
		}
		m.MaxConnections = n
	default:
		return d.Errf("unknown option %q of mirror", option)
	}
	return nil
}

// durationArg reads the one argument of an option as a time.
func durationArg(d *caddyfile.Dispenser, option string, to *caddy.Duration) error {
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil {
		return d.Errf("%s: %v", option, err)
	}
	if duration <= 0 {
		return d.Errf("%s must be more than nothing", option)
	}
	*to = caddy.Duration(duration)
	return nil
}

var _ caddyfile.Unmarshaler = (*Mirror)(nil)
