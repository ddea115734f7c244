package identity

import (
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/policies"
)

// ErrCredential is the error for an unknown or invalid credential.
var ErrCredential = errors.New("wrong credentials")

// KeyRefused is the error for a known key that is no longer valid. Its owner may learn which key
// it is, and since when it is invalid.
type KeyRefused struct {
	Key Key
	// Disabled reports that the user is refused, and not the key.
	Disabled bool
}

func (e *KeyRefused) Error() string {
	switch {
	case e.Disabled:
		return fmt.Sprintf("API key %q: user %s is disabled, or gone", e.Key.Name, e.Key.User)
	case !e.Key.Revoked.IsZero():
		return fmt.Sprintf("API key %q was revoked on %s", e.Key.Name, e.Key.Revoked.Format(time.DateOnly))
	default:
		return fmt.Sprintf("API key %q expired on %s", e.Key.Name, e.Key.Expires.Format(time.DateOnly))
	}
}

// Is makes it one of the wrong credentials.
func (e *KeyRefused) Is(target error) bool { return target == ErrCredential }

// UserRefused is the error for a valid credential of a user that an administrator has disabled.
type UserRefused struct {
	User string
	// Credential is as in policies.Identity.
	Credential string
}

func (e *UserRefused) Error() string { return fmt.Sprintf("user %s is disabled", e.User) }

// Is makes it one of the wrong credentials.
func (e *UserRefused) Is(target error) bool { return target == ErrCredential }

// KeyIdentity returns the identity behind an API key. It does not touch the disk.
// locals are the local users of the configuration; keys of a removed local user are
// refused. Errors: ErrCredential, as a *KeyRefused if the key was once valid.
func (s *Store) KeyIdentity(secret string, locals *Locals) (policies.Identity, error) {
	return s.keyIdentity(secret, locals, "")
}

// keyIdentity is KeyIdentity for a caller with an address, which the key remembers.
func (s *Store) keyIdentity(secret string, locals *Locals, address string) (policies.Identity, error) {
	held := s.keys.find(secret)
	if held == nil {
		return policies.Identity{}, fmt.Errorf("API key: %w", ErrCredential)
	}
	return s.identify(held, locals, address)
}

// keyIDIdentity returns the identity behind a token that was issued for a key, by the
// key's ID, for a caller with an address. Errors: as KeyIdentity.
func (s *Store) keyIDIdentity(id string, locals *Locals, address string) (policies.Identity, error) {
	s.keys.mu.RLock()
	held := s.keys.byID[id]
	s.keys.mu.RUnlock()
	if held == nil {
		return policies.Identity{}, fmt.Errorf("API key %s: %w", id, ErrCredential)
	}
	return s.identify(held, locals, address)
}

func (s *Store) identify(held *heldKey, locals *Locals, address string) (policies.Identity, error) {
	key, now := held.key.Load(), s.now()
	if !key.Active(now) {
		return policies.Identity{}, &KeyRefused{Key: *key}
	}
	user, known := s.users.Get(key.User)
	groups := user.Groups
	switch {
	case key.Service:
		groups, known = key.Groups, true
	case key.Local:
		var who policies.Identity
		who, known = locals.find(key.User)
		groups = who.Groups
	}
	if user.Disabled || !known {
		return policies.Identity{}, &KeyRefused{Key: *key, Disabled: true}
	}
	held.use(now, address)
	return policies.Identity{
		User: key.User, Groups: groups, Credential: KeyCredential(key.ID),
		Key: policies.Key{ID: key.ID, Label: key.RuleLabel()}, Narrow: held.narrow,
	}, nil
}

// KeyCredential is how an identity, a log and a token name a key.
func KeyCredential(id string) string { return "key " + id }

// Narrowing returns the bounds of the key; nil: none beyond its user's rights.
func (k Key) Narrowing() (*policies.Narrowing, error) { return narrowing(k.Actions, k.Globs) }

// narrowing makes a Narrowing of the actions and patterns of a key. Errors are
// sentences.
func narrowing(actions, patterns []string) (*policies.Narrowing, error) {
	if len(actions) == 0 && len(patterns) == 0 {
		return nil, nil
	}
	narrow := new(policies.Narrowing)
	for _, word := range actions {
		action, err := policies.ParseAction(word)
		if err != nil {
			return nil, err
		}
		narrow.Actions = append(narrow.Actions, action)
	}
	var err error
	narrow.On, err = globs.Parse(patterns...)
	return narrow, err
}
