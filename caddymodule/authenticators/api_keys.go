package authenticators

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/option"
)

// APIKeys is the block api_keys. A nil one has the defaults.
type APIKeys struct {
	// MaxLifetime is how long a key lasts at most, and by default. Keys that exist
	// keep their end. Default: 90 days.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
}

// Lifetime is how long a key lasts at most.
func (k *APIKeys) Lifetime() time.Duration {
	if k == nil || k.MaxLifetime == 0 {
		return identity.DefaultLifetime
	}
	return time.Duration(k.MaxLifetime)
}

// Check refuses a lifetime that is negative.
func (k *APIKeys) Check() error {
	if k.Lifetime() < 0 {
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

var _ caddyfile.Unmarshaler = (*APIKeys)(nil)
