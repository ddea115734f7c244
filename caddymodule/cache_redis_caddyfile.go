package caddymodule

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads the block. Syntax:
//
//	cache redis {
//	    address  [<host[:port]>...]
//	    sentinel <name of the master> {
//	        user     <name>
//	        password <placeholder>
//	    }
//	    cluster
//	    user     <name>
//	    password <placeholder>
//	    db       <number>
//	    tls {
//	        ca                 <pem>
//	        client_certificate <pem> <key>
//	        server_name        <name>
//	    }
//	    prefix   <text>
//	    secret   <placeholder>
//	}
//
// An address without a value is no Redis: {$REGISTRY_REDIS:} may be empty. The blocks
// of sentinel and tls may be missing.
func (c *RedisCache) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	texts := map[string]*string{"user": &c.User, "password": &c.Password, "prefix": &c.Prefix, "secret": &c.Secret}
	err := redisBlock(d, "cache redis", texts, func(option string) (err error) {
		switch option {
		case "address":
			for _, arg := range d.RemainingArgs() {
				if arg != "" { // what "{$REGISTRY_REDIS:}" is, if it is not set
					c.Addresses = append(c.Addresses, arg)
				}
			}
		case "cluster":
			c.Cluster = true
			err = noArgs(d)
		case "db":
			var text string
			if !d.AllArgs(&text) {
				return d.ArgErr()
			}
			if c.DB, err = strconv.Atoi(text); err != nil {
				err = d.Errf("db: %q is not a number", text)
			}
		case "sentinel":
			c.Sentinel = new(RedisSentinel)
			if !d.AllArgs(&c.Sentinel.Master) {
				return d.Err("sentinel needs the name that the sentinels have for the master, such as: sentinel mymaster")
			}
			err = redisBlock(d, "sentinel", map[string]*string{"user": &c.Sentinel.User, "password": &c.Sentinel.Password}, nil)
		case "tls":
			c.TLS = new(RedisTLS)
			if err = noArgs(d); err == nil {
				err = c.TLS.unmarshal(d)
			}
		default:
			err = d.Errf("unknown option %q of cache redis", option)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (t *RedisTLS) unmarshal(d *caddyfile.Dispenser) error {
	texts := map[string]*string{"ca": &t.CA, "server_name": &t.ServerName}
	return redisBlock(d, "tls", texts, func(option string) error {
		if option != "client_certificate" {
			return d.Errf("unknown option %q of tls", option)
		}
		t.ClientCertificate = new(ClientCertificate)
		if !d.AllArgs(&t.ClientCertificate.Certificate, &t.ClientCertificate.Key) {
			return d.ArgErr()
		}
		return nil
	})
}

// redisBlock reads a block, each of whose options is there once: texts have one
// argument, and other reads the rest.
func redisBlock(d *caddyfile.Dispenser, name string, texts map[string]*string, other func(option string) error) error {
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("option %s is here twice", option)
		}
		seen[option] = true
		if to := texts[option]; to != nil {
			if !d.AllArgs(to) {
				return d.ArgErr()
			}
			continue
		}
		if other == nil {
			return d.Errf("unknown option %q of %s", option, name)
		}
		if err := other(option); err != nil {
			return err
		}
	}
	return nil
}

func noArgs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*RedisCache)(nil)
