package cache

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
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
//	    size     <size of the memory before it>
//	}
//
// An address without a value means no Redis: {$REGISTRY_REDIS:} may be empty. The
// blocks of sentinel and tls may be missing.
func (c *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	err := option.Block(d, "cache redis", option.Options{
		"address": option.Func(func(d *caddyfile.Dispenser) error {
			for _, arg := range d.RemainingArgs() {
				if arg != "" { // what "{$REGISTRY_REDIS:}" is, if it is not set
					c.Addresses = append(c.Addresses, arg)
				}
			}
			return nil
		}),
		"sentinel": option.Func(c.unmarshalSentinel),
		"cluster":  option.Flag(&c.Cluster),
		"user":     option.Once(&c.User),
		"password": option.Secret(&c.Password),
		"db":       option.Number(&c.DB, 0),
		"tls": option.Func(func(d *caddyfile.Dispenser) error {
			c.TLS = new(TLS)
			return option.Block(d, "tls", option.Options{
				"ca":                 option.Once(&c.TLS.CA),
				"client_certificate": option.Certificate(&c.TLS.ClientCertificate),
				"server_name":        option.Once(&c.TLS.ServerName),
			})
		}),
		"prefix": option.Once(&c.Prefix),
		"secret": option.Secret(&c.Secret),
		"size":   option.Size(&c.Size),
	})
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (c *Redis) unmarshalSentinel(d *caddyfile.Dispenser) error {
	c.Sentinel = new(Sentinel)
	if !d.AllArgs(&c.Sentinel.Master) {
		return d.Err("sentinel needs the name of the master, such as: sentinel mymaster")
	}
	return option.Block(d, "sentinel", option.Options{
		"user":     option.Once(&c.Sentinel.User),
		"password": option.Once(&c.Sentinel.Password), // Validate says whose it is
	})
}

var _ caddyfile.Unmarshaler = (*Redis)(nil)
