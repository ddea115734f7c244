package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oci", parseApp)
}

// parseApp reads the global option. See UnmarshalCaddyfile for the syntax.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // onto the option's name, whose line the error tells
		return nil, d.Err("option oci is here twice")
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
//	    min_free <percent>%|<size>
//	    private <globs...>
//	    mirror <host> {
//	        ...
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
// says; see Mirror, OIDC and TrustedIssuer for the options of those. hostnames,
// private, mirror, local_user and authenticators other than client_cert may be
// repeated. An option that is unknown, or here twice, is refused with its line.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] && !slices.Contains([]string{"hostnames", "private", "mirror", "local_user"}, option) &&
			(option == clientCertName || !isAuthenticator(option)) {
			return d.Errf("option %s is here twice", option)
		}
		seen[option] = true
		if err := a.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "url":
		if !d.AllArgs(&a.URL) {
			return d.ArgErr()
		}
	case "hostnames":
		return someArgs(d, &a.Hostnames)
	case "min_free":
		if !d.AllArgs(&a.MinFree) {
			return d.ArgErr()
		}
		if _, err := a.leaveFree(); err != nil {
			return d.Errf("min_free: %v", err)
		}
	case "private":
		return someArgs(d, &a.Private)
	case "cache":
		return a.unmarshalCache(d)
	case "mirror":
		return a.unmarshalMirror(d)
	case "storage":
		if !d.NextArg() {
			return d.ArgErr()
		}
		name := d.Val()
		module, err := caddyfile.UnmarshalModule(d, "oci.storage."+name)
		if err != nil {
			return err
		}
		storage, ok := module.(Storage)
		if !ok {
			return d.Errf("module oci.storage.%s is not a storage", name)
		}
		a.StorageRaw = caddyconfig.JSONModuleObject(storage, "module", name, nil)
	case "gc":
		a.GC = new(GC)
		return a.GC.UnmarshalCaddyfile(d)
	case "policy":
		a.Policy = new(Policy)
		return a.Policy.UnmarshalCaddyfile(d)
	case "api_keys":
		a.APIKeys = new(APIKeys)
		return a.APIKeys.UnmarshalCaddyfile(d)
	case "oidc":
		a.OIDC = new(OIDC)
		return a.OIDC.UnmarshalCaddyfile(d)
	case "local_user":
		return a.unmarshalLocalUser(d)
	default:
		return a.unmarshalAuthenticator(d, option)
	}
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
	if d.NextArg() {
		return d.ArgErr()
	}
	options := map[string]*caddy.Duration{
		"interval": &g.Interval, "grace": &g.Grace, "untagged": &g.Untagged, "uploads": &g.Uploads,
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		to, ok := options[option]
		if !ok {
			return d.Errf("unknown option %q of gc", option)
		}
		if option == "untagged" && d.CountRemainingArgs() == 1 && d.NextArg() {
			if d.Val() == "keep" {
				continue
			}
			d.Prev()
		}
		if err := durationArg(d, option, to); err != nil {
			return err
		}
	}
	return nil
}

// someArgs appends the rest of the line, which must not be empty.
func someArgs(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*GC)(nil)
)
