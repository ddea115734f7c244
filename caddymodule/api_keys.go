package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
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

var _ caddyfile.Unmarshaler = (*APIKeys)(nil)
