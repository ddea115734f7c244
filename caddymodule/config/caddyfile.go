package config

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/cache"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oci", parse)
}

// parse reads the global option. See UnmarshalCaddyfile for the syntax.
func parse(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // onto the option's name, so that the error has its line
		return nil, d.Err("duplicate option oci")
	}
	registry := new(Registry)
	if err := registry.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "oci", Value: caddyconfig.JSON(registry, nil)}, nil
}

// UnmarshalCaddyfile reads the global option. Syntax:
//
//	oci {
//	    url       <url>
//	    hostnames <host[:port]...>
//	    storage   <module> ...
//	    cache     <module> ...
//	    gc {
//	        interval <duration>
//	        grace    <duration>
//	        untagged keep|<age>
//	        uploads  <duration>
//	    }
//	    verify {
//	        every <duration>
//	        rate  <size>
//	    }
//	    min_free <percent>%|<size>
//	    private <globs...>
//	    mirror <host> {
//	        ...
//	    }
//	    limits {
//	        upload  <size>
//	        uploads <number>
//	        keys    <number>
//	        reserve <size>|0
//	    }
//	    api_keys {
//	        max_lifetime <duration>
//	    }
//	    oidc {
//	        ...
//	    }
//	    local_user <name> <bcrypt hash> [<groups...>]
//	    client_cert {
//	        user   san|cn
//	        groups <groups...>
//	    }
//	    <authenticator> ...
//	    policy {
//	        allow|deny <who> <actions...> [on <globs...>]
//	    }
//	}
//
// An authenticator is the name of a module oci.authenticators.*, followed by that module's
// options. See Mirror, and package authenticators, for these options. hostnames, private,
// mirror, local_user and authenticators other than client_cert may be repeated. An unknown or
// duplicate option is refused with its line.
func (r *Registry) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	options := option.Options{
		"url":       option.Once(&r.URL),
		"hostnames": option.List(&r.Hostnames).Repeated(),
		"min_free":  option.Once(&r.MinFree).Check(func() error { _, err := r.LeaveFree(); return err }),
		"private":   option.List(&r.Private).Repeated(),
		"cache":     option.Func(r.unmarshalCache),
		"mirror":    option.Func(r.unmarshalMirror).Repeated(),
		"storage":   option.Func(r.unmarshalStorage),
		"gc": option.Func(func(d *caddyfile.Dispenser) error {
			r.GC = new(GC)
			return r.GC.UnmarshalCaddyfile(d)
		}),
		"verify": option.Func(func(d *caddyfile.Dispenser) error {
			r.Verify = new(Verify)
			return r.Verify.UnmarshalCaddyfile(d)
		}),
		"policy": option.Func(func(d *caddyfile.Dispenser) error {
			r.Policy = new(Policy)
			return r.Policy.UnmarshalCaddyfile(d)
		}),
		"limits": option.Func(func(d *caddyfile.Dispenser) error {
			r.Limits = new(Limits)
			return r.Limits.UnmarshalCaddyfile(d)
		}),
		"api_keys": option.Func(func(d *caddyfile.Dispenser) error {
			r.APIKeys = new(authenticators.APIKeys)
			return r.APIKeys.UnmarshalCaddyfile(d)
		}),
		"oidc": option.Func(func(d *caddyfile.Dispenser) error {
			r.OIDC = new(authenticators.OIDC)
			return r.OIDC.UnmarshalCaddyfile(d)
		}),
		"local_user": option.Func(r.LocalUsers.UnmarshalCaddyfile).Repeated(),
	}
	authenticators.AddOptions(options, &r.AuthenticatorsRaw)
	return option.Block(d, "oci", options)
}

// unmarshalCache reads the option cache, whose name was consumed.
func (r *Registry) unmarshalCache(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "oci.cache."+name)
	if err != nil {
		return err
	}
	cache, ok := module.(cache.Module)
	if !ok {
		return d.Errf("module oci.cache.%s is not a cache", name)
	}
	r.CacheRaw = caddyconfig.JSONModuleObject(cache, "module", name, nil)
	return nil
}

// unmarshalStorage reads the option storage, whose name was consumed.
func (r *Registry) unmarshalStorage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "oci.storage."+name)
	if err != nil {
		return err
	}
	storage, ok := module.(storage.Module)
	if !ok {
		return d.Errf("module oci.storage.%s is not a storage", name)
	}
	r.StorageRaw = caddyconfig.JSONModuleObject(storage, "module", name, nil)
	return nil
}

var _ caddyfile.Unmarshaler = (*Registry)(nil)
