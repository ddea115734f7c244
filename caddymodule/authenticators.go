package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// APIKeys is what API keys are like.
type APIKeys struct {
	// MaxLifetime is how long a key lasts at most, and by default. Keys that exist
	// keep their end. Default: 90 days.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
}

func (k *APIKeys) lifetime() time.Duration {
	if k == nil || k.MaxLifetime == 0 {
		return identity.DefaultLifetime
	}
	return time.Duration(k.MaxLifetime)
}

func (k *APIKeys) check() error {
	if k.lifetime() < 0 {
		return fmt.Errorf("max_lifetime is negative")
	}
	return nil
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	api_keys {
//	    max_lifetime <duration>
//	}
func (k *APIKeys) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "max_lifetime" {
			return d.Errf("unknown option %q of api_keys", d.Val())
		}
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		duration, err := caddy.ParseDuration(value)
		if err != nil {
			return d.Errf("max_lifetime: %v", err)
		}
		if duration <= 0 {
			return d.Err("max_lifetime must be more than nothing")
		}
		k.MaxLifetime = caddy.Duration(duration)
	}
	return nil
}

// The namespace of the guest modules that verify credentials.
const authenticatorNamespace = "oci.authenticators."

func isAuthenticator(option string) bool {
	_, err := caddy.GetModule(authenticatorNamespace + option)
	return err == nil
}

// unmarshalAuthenticator reads an option that is the name of a guest module.
func (a *App) unmarshalAuthenticator(d *caddyfile.Dispenser, option string) error {
	if !isAuthenticator(option) {
		return d.Errf("unknown option %q of oci", option)
	}
	module, err := caddyfile.UnmarshalModule(d, authenticatorNamespace+option)
	if err != nil {
		return err
	}
	a.AuthenticatorsRaw = append(a.AuthenticatorsRaw, caddyconfig.JSONModuleObject(module, "module", option, nil))
	return nil
}

// provisionAuthenticators makes the guest modules.
func (a *App) provisionAuthenticators(ctx caddy.Context) error {
	if a.AuthenticatorsRaw == nil {
		return nil
	}
	modules, err := ctx.LoadModule(a, "AuthenticatorsRaw")
	if err != nil {
		return err
	}
	certificates := 0
	for _, module := range modules.([]any) {
		if _, ok := module.(*ClientCert); ok {
			if certificates++; certificates > 1 {
				return fmt.Errorf("%s is here twice", clientCertName)
			}
		}
		authenticator, ok := module.(identity.Authenticator)
		if !ok {
			return fmt.Errorf("%T is not an authenticator", module)
		}
		a.authenticators = append(a.authenticators, authenticator)
	}
	a.authenticators = joinIssuers(a.authenticators)
	return nil
}

var _ caddyfile.Unmarshaler = (*APIKeys)(nil)
