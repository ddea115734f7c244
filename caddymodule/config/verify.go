package config

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/verify"
)

// Verify configures when the registry reads all stored content and compares it with its digest.
// Content that does not match is moved to the quarantine, so that the next push or the upstream
// replaces it.
type Verify struct {
	// Every is the time between the end of a run in the background and the next run.
	// A run that a stop or a reload interrupts continues after the start. Default: no
	// background runs.
	Every caddy.Duration `json:"every,omitempty"`

	// Rate is the maximum read in a second, by the background runs and those of `registry
	// verify` together. Default: 20MiB.
	Rate string `json:"rate,omitempty"`
}

// minEvery is the least time between two runs: a run of a small storage is over at once.
const minEvery = time.Minute

// Settings checks the configuration and fills in the defaults.
func (v *Verify) Settings() (s verify.Settings, err error) {
	if v == nil {
		return s, nil
	}
	if s.Every = time.Duration(v.Every); s.Every != 0 && s.Every < minEvery {
		return s, errors.New("every must be at least a minute")
	}
	if v.Rate != "" {
		s.Rate, err = option.ParseSize(v.Rate)
	}
	return s, err
}

// UnmarshalCaddyfile reads the block verify. Syntax:
//
//	verify {
//	    every <duration>
//	    rate  <size>
//	}
func (v *Verify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	check := func() error { _, err := v.Settings(); return err }
	return option.Block(d, "verify", option.Options{
		"every": option.Duration(&v.Every).Check(check),
		"rate":  option.Size(&v.Rate),
	})
}
