package caddymodule

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/option"
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
	return option.Block(d, "api_keys", option.Options{"max_lifetime": option.Duration(&k.MaxLifetime)})
}

// The namespace of the guest modules that verify credentials.
const authenticatorNamespace = "oci.authenticators."

// authenticatorOptions adds an option for each guest module, by the module's name.
func (a *App) authenticatorOptions(options option.Options) {
	for _, module := range caddy.GetModules(strings.TrimSuffix(authenticatorNamespace, ".")) {
		name := module.ID.Name()
		read := option.Func(func(d *caddyfile.Dispenser) error {
			module, err := caddyfile.UnmarshalModule(d, authenticatorNamespace+name)
			if err != nil {
				return err
			}
			a.AuthenticatorsRaw = append(a.AuthenticatorsRaw, caddyconfig.JSONModuleObject(module, "module", name, nil))
			return nil
		})
		if name != clientCertName {
			read = read.Repeated()
		}
		options[name] = read
	}
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
				return fmt.Errorf("duplicate option %s", clientCertName)
			}
		}
		authenticator, ok := module.(identity.Authenticator)
		if !ok {
			return fmt.Errorf("%T is not an authenticator", module)
		}
		a.authenticators = append(a.authenticators, authenticator)
	}
	a.authenticators, err = joinIssuers(a.authenticators)
	return err
}

var _ caddyfile.Unmarshaler = (*APIKeys)(nil)
