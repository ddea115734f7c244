package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oci", parseApp)
}

// parseApp reads the global option. See UnmarshalCaddyfile for the syntax.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // onto the option's name, whose line the error tells
		return nil, d.Err("duplicate option oci")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "oci", Value: caddyconfig.JSON(app, nil)}, nil
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
// An authenticator is the name of a module oci.authenticators.*, with what that module
// says; see Mirror, and package authenticators, for the options of those. hostnames,
// private, mirror, local_user and authenticators other than client_cert may be
// repeated. An option that is unknown, or a duplicate, is refused with its line.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	options := option.Options{
		"url":       option.Once(&a.URL),
		"hostnames": option.List(&a.Hostnames).Repeated(),
		"min_free":  option.Once(&a.MinFree).Check(func() error { _, err := a.leaveFree(); return err }),
		"private":   option.List(&a.Private).Repeated(),
		"cache":     option.Func(a.unmarshalCache),
		"mirror":    option.Func(a.unmarshalMirror).Repeated(),
		"storage":   option.Func(a.unmarshalStorage),
		"gc": option.Func(func(d *caddyfile.Dispenser) error {
			a.GC = new(GC)
			return a.GC.UnmarshalCaddyfile(d)
		}),
		"verify": option.Func(func(d *caddyfile.Dispenser) error {
			a.Verify = new(Verify)
			return a.Verify.UnmarshalCaddyfile(d)
		}),
		"policy": option.Func(func(d *caddyfile.Dispenser) error {
			a.Policy = new(Policy)
			return a.Policy.UnmarshalCaddyfile(d)
		}),
		"limits": option.Func(func(d *caddyfile.Dispenser) error {
			a.Limits = new(Limits)
			return a.Limits.UnmarshalCaddyfile(d)
		}),
		"api_keys": option.Func(func(d *caddyfile.Dispenser) error {
			a.APIKeys = new(authenticators.APIKeys)
			return a.APIKeys.UnmarshalCaddyfile(d)
		}),
		"oidc": option.Func(func(d *caddyfile.Dispenser) error {
			a.OIDC = new(authenticators.OIDC)
			return a.OIDC.UnmarshalCaddyfile(d)
		}),
		"local_user": option.Func(a.LocalUsers.UnmarshalCaddyfile).Repeated(),
	}
	authenticators.AddOptions(options, &a.AuthenticatorsRaw)
	return option.Block(d, "oci", options)
}

// unmarshalStorage reads the option storage, whose name was consumed.
func (a *App) unmarshalStorage(d *caddyfile.Dispenser) error {
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
	a.StorageRaw = caddyconfig.JSONModuleObject(storage, "module", name, nil)
	return nil
}

// UnmarshalCaddyfile reads the block gc. Syntax:
//
//	gc {
//	    interval <duration>
//	    grace    <duration>
//	    untagged keep|<age>
//	    uploads  <duration>
//	}
func (g *GC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return option.Block(d, "gc", option.Options{
		"interval": option.Duration(&g.Interval),
		"grace":    option.Duration(&g.Grace),
		"untagged": option.Duration(&g.Untagged, "keep"),
		"uploads":  option.Duration(&g.Uploads),
	})
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*GC)(nil)
)
