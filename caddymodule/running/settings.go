package running

import (
	"slices"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/quota"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// Settings are one configuration's settings of the shared storage.
type Settings struct {
	Stores  store.Settings
	Limits  quota.Limits
	Bounds  evict.Settings
	Verify  verify.Settings
	Mirrors []MirrorSpec
	// Owner returns the mirror that a canonical name belongs to, as namespace.New needs it.
	Owner func(repo string) (string, bool)
	// Audit records what commands delete.
	Audit observe.Audit
	Keys  KeyLimits
	// SignIn is the sign-in; nil: users cannot sign in.
	SignIn *SignInSpec
	Cache  mirror.Shared // nil: nothing is shared
	// Public reports whether every caller may know of a private repository.
	Public func(repo string) bool
	// Watch is called for keys that are made and revoked.
	Watch func(identity.Change, identity.Key, string)
	// WatchUsers is called for users whose record changed.
	WatchUsers func(identity.UserChange)
	Admins     *admins.Roster
}

// KeyLimits bound API keys.
type KeyLimits struct {
	// Lifetime is the longest lifetime of a key.
	Lifetime time.Duration
	// Number is how many valid keys a user may have; 0: identity.DefaultMaxKeys.
	Number int
}

// apply sets the limits of the open storage.
func (l KeyLimits) apply(keys *identity.Keys) {
	keys.SetMaxLifetime(l.Lifetime)
	keys.SetMaxKeys(l.Number)
}

// Configure applies the settings of a configuration that has started.
func (s *Storage) Configure(c *Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = append(s.settings, c)
	s.applyLocked()
}

// audit is that of the configuration that started last; the zero value before one has.
func (s *Storage) audit() observe.Audit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settings) == 0 {
		return observe.Audit{}
	}
	return s.settings[len(s.settings)-1].Audit
}

func (s *Storage) unconfigure(c *Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = slices.DeleteFunc(s.settings, func(other *Settings) bool { return other == c })
	s.applyLocked()
}

func (s *Storage) applyLocked() {
	if s.trees == nil || len(s.settings) == 0 {
		return
	}
	last := s.settings[len(s.settings)-1]
	s.trees.setStores(last.Stores)
	s.trees.SetLimits(last.Limits)
	last.Keys.apply(s.callers.Identity.Keys())
	if last.SignIn != nil {
		s.callers.SignIn(last.SignIn).apply(last.SignIn)
	}
	s.callers.Identity.Keys().Watch(last.Watch)
	s.callers.Identity.Users().Watch(last.WatchUsers)
	s.trees.keeping.evictor.SetSettings(last.Bounds)
	s.trees.keeping.census.SetPublic(last.Public)
	s.trees.SetVerifying(last.Verify)
	s.cache.set(last.Cache)
	for _, spec := range last.Mirrors {
		if m := s.mirrors[spec.Key]; m != nil {
			m.SetSettings(spec.Settings)
		}
	}
}
