package identity

import (
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/policies"
)

// ErrCredential is a credential that nobody knows, or that is not what it says it is.
var ErrCredential = errors.New("wrong credentials")

// KeyRefused is a key that is known and no longer good: its owner may be told which,
// and since when.
type KeyRefused struct {
	Key Key
	// Disabled says that it is the user who is refused.
	Disabled bool
}

func (e *KeyRefused) Error() string {
	switch {
	case e.Disabled:
		return fmt.Sprintf("API key %q: user %s is disabled", e.Key.Name, e.Key.User)
	case !e.Key.Revoked.IsZero():
		return fmt.Sprintf("API key %q was revoked on %s", e.Key.Name, e.Key.Revoked.Format(time.DateOnly))
	default:
		return fmt.Sprintf("API key %q expired on %s", e.Key.Name, e.Key.Expires.Format(time.DateOnly))
	}
}

// Is makes it one of the wrong credentials.
func (e *KeyRefused) Is(target error) bool { return target == ErrCredential }

// KeyIdentity is who presents an API key. It touches no disk.
// Errors: ErrCredential, as a *KeyRefused if the key was good once.
func (s *Store) KeyIdentity(secret string) (policies.Identity, error) {
	held := s.keys.find(secret)
	if held == nil {
		return policies.Identity{}, fmt.Errorf("API key: %w", ErrCredential)
	}
	return s.identify(held)
}

// KeyIDIdentity is who presents something that was issued for a key, by the key's ID.
// Errors: as KeyIdentity.
func (s *Store) KeyIDIdentity(id string) (policies.Identity, error) {
	s.keys.mu.RLock()
	held := s.keys.byID[id]
	s.keys.mu.RUnlock()
	if held == nil {
		return policies.Identity{}, fmt.Errorf("API key %s: %w", id, ErrCredential)
	}
	return s.identify(held)
}

func (s *Store) identify(held *heldKey) (policies.Identity, error) {
	key, now := held.key.Load(), s.now()
	if !key.Active(now) {
		return policies.Identity{}, &KeyRefused{Key: *key}
	}
	user, known := s.users.Get(key.User)
	if user.Disabled || !known && !key.Service {
		return policies.Identity{}, &KeyRefused{Key: *key, Disabled: true}
	}
	held.used.Store(now.UnixNano())
	groups := user.Groups
	if key.Service {
		groups = key.Groups
	}
	return policies.Identity{
		User: key.User, Groups: groups, Credential: KeyCredential(key.ID),
		Key: policies.Key{ID: key.ID, Label: key.Name}, Narrow: held.narrow,
	}, nil
}

// KeyCredential is how an identity, a log and a token name a key.
func KeyCredential(id string) string { return "key " + id }

// narrowing is what the actions and patterns of a key mean. Errors are sentences.
func narrowing(actions, globs []string) (*policies.Narrowing, error) {
	if len(actions) == 0 && len(globs) == 0 {
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
	narrow.On, err = namespace.ParseGlobs(globs...)
	return narrow, err
}
