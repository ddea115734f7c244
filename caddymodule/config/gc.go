package config

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/store"
)

// GC configures what the collector removes, and when it runs. It runs beside pushes and pulls,
// and never removes content that a manifest needs.
type GC struct {
	// Interval is the time between two runs. Default: 24h.
	Interval caddy.Duration `json:"interval,omitempty"`

	// Grace is how long content without a manifest is kept after its upload, or after a client
	// was told that it exists. It must be longer than any push takes. Default: 1h.
	Grace caddy.Duration `json:"grace,omitempty"`

	// Untagged is the age at which manifests are removed that no tag reaches, not even by an
	// index or as a subject. It counts from the latest of the push, the moment when the last
	// tag left, and the last pull. Default: they are kept.
	Untagged caddy.Duration `json:"untagged,omitempty"`

	// Uploads is how long an unfinished upload is kept since its last byte.
	// Default: 24h.
	Uploads caddy.Duration `json:"uploads,omitempty"`
}

// defaultInterval is the time between two collections.
const defaultInterval = 24 * time.Hour

// Collection is a GC with its defaults.
type Collection struct {
	interval, grace, untagged, uploads time.Duration
}

// Collection checks the configuration and fills in the defaults.
func (g *GC) Collection() (Collection, error) {
	c := Collection{
		interval: defaultInterval,
		grace:    store.DefaultGrace,
		untagged: store.KeepUntagged,
		uploads:  store.DefaultUploadAge,
	}
	if g == nil {
		return c, nil
	}
	for _, option := range []struct {
		name string
		from caddy.Duration
		to   *time.Duration
	}{
		{"interval", g.Interval, &c.interval},
		{"grace", g.Grace, &c.grace},
		{"untagged", g.Untagged, &c.untagged},
		{"uploads", g.Uploads, &c.uploads},
	} {
		if option.from < 0 {
			return c, fmt.Errorf("%s is negative", option.name)
		}
		if option.from > 0 {
			*option.to = time.Duration(option.from)
		}
	}
	return c, nil
}

// Schedule returns when the collector runs.
func (c Collection) Schedule() running.Schedule {
	return running.Schedule{Interval: c.interval, Grace: c.grace}
}

// Settings returns what the collector removes.
func (c Collection) Settings() store.Settings {
	return store.Settings{Grace: c.grace, Untagged: c.untagged, UploadAge: c.uploads}
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

var _ caddyfile.Unmarshaler = (*GC)(nil)
