package config

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/quota"
)

// Limits bounds the resources of callers that may push or make keys. A change applies to every
// request after the reload. For mirrors, min_free sets the space to leave free.
type Limits struct {
	// Upload is the largest blob that is accepted, such as 100GiB; a larger one is answered
	// 413. Default: 100GiB.
	Upload string `json:"upload,omitempty"`

	// Uploads is how many uploads one user may have open, and each address of anonymous
	// callers. For one more, the user's oldest upload that has been idle for 10 minutes is
	// dropped; if there is none the answer is 429. Default: 100.
	Uploads int `json:"uploads,omitempty"`

	// Keys is how many valid API keys one user may have. Default: 50.
	Keys int `json:"keys,omitempty"`

	// Reserve is the disk space that pushes leave free, such as 256MiB; 0 turns it off. A push
	// that would need it is answered 507. Default: 256MiB, but at most 5 % of the disk.
	Reserve string `json:"reserve,omitempty"`
}

// Quota returns the limits for pushes.
func (l *Limits) Quota() (q quota.Limits, err error) {
	if l == nil {
		return q, nil
	}
	if l.Upload != "" {
		if q.Upload, err = option.ParseSize(l.Upload); err != nil {
			return q, fmt.Errorf("upload: %w", err)
		}
	}
	switch l.Reserve {
	case "":
	case "0":
		q.Reserve = -1
	default:
		if q.Reserve, err = option.ParseSize(l.Reserve); err != nil {
			return q, fmt.Errorf("reserve: %w", err)
		}
	}
	if l.Uploads < 0 || l.Keys < 0 {
		return q, fmt.Errorf("uploads and keys must be positive")
	}
	q.Uploads = l.Uploads
	return q, nil
}

// keys is how many valid keys a user may have; 0: the default.
func (l *Limits) keys() int {
	if l == nil {
		return 0
	}
	return l.Keys
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	limits {
//	    upload  <size>
//	    uploads <number>
//	    keys    <number>
//	    reserve <size>|0
//	}
func (l *Limits) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return option.Block(d, "limits", option.Options{
		"upload":  option.Size(&l.Upload),
		"uploads": option.Number(&l.Uploads, 1),
		"keys":    option.Number(&l.Keys, 1),
		"reserve": option.Once(&l.Reserve).Check(func() error {
			if l.Reserve == "" {
				return fmt.Errorf("write a size, such as 256MiB, or 0")
			}
			_, err := l.Quota()
			return err
		}),
	})
}

var _ caddyfile.Unmarshaler = (*Limits)(nil)

// LeaveFree reads min_free.
func (r *Registry) LeaveFree() (evict.MinFree, error) {
	if r.MinFree == "" {
		return evict.DefaultMinFree, nil
	}
	return evict.ParseMinFree(r.MinFree)
}

// Bounds returns how much mirrors may hold. minFree and collection are those of this
// configuration.
func (r *Registry) Bounds(minFree evict.MinFree, collection Collection) evict.Settings {
	settings := evict.Settings{MinFree: minFree, Grace: collection.grace, Mirrors: map[string]evict.Limits{}}
	for name, m := range r.Mirrors {
		size, _ := m.maxSize() // checked by Site
		settings.Mirrors[name] = evict.Limits{Keep: time.Duration(m.Keep), MaxSize: size}
	}
	return settings
}

// maxSize reads max_size; 0 is none.
func (m *Mirror) maxSize() (int64, error) {
	if m.MaxSize == "" {
		return 0, nil
	}
	return option.ParseSize(m.MaxSize)
}

// KeyLimits returns the limits of API keys.
func (r *Registry) KeyLimits() running.KeyLimits {
	return running.KeyLimits{Lifetime: r.APIKeys.Lifetime(), Number: r.Limits.keys()}
}
