package oidclogin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

const (
	// followWait is how long a request waits for groups that are too old. After that the old
	// groups are used: an outage of the provider does not stop the registry.
	followWait = 5 * time.Second
	// followRetry is how long after a refresh without an answer the next one for that person is
	// made.
	followRetry = time.Minute
	// maxFollowing bounds refreshes that run at the same time.
	maxFollowing = 4
)

// Users stores the groups.
type Users interface {
	Get(name string) (identity.User, bool)
	Update(ctx context.Context, name string, change func(*identity.User) error) (identity.User, error)
}

// Follower keeps the groups of people up to date with the provider, while they or their keys use
// the registry. It is safe for concurrent use.
type Follower struct {
	provider *Provider
	sealer   Sealer
	users    Users
	log      *slog.Logger
	// refused is called for people whose refresh token is no longer valid.
	refused func(ctx context.Context, user string)
	slots   chan struct{}

	mu      sync.Mutex // guards running, tried and every
	running map[string]chan struct{}
	tried   map[string]time.Time
	every   time.Duration
}

// NewFollower makes a Follower of a provider. refused ends the sessions of a person.
func NewFollower(provider *Provider, sealer Sealer, users Users, refused func(ctx context.Context, user string), log *slog.Logger) *Follower {
	return &Follower{
		provider: provider, sealer: sealer, users: users, refused: refused, log: log,
		slots: make(chan struct{}, maxFollowing), every: 15 * time.Minute,
		running: map[string]chan struct{}{}, tried: map[string]time.Time{},
	}
}

// SetInterval sets how old groups may be.
func (f *Follower) SetInterval(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.every = d
}

// Sealed returns a refresh token in the form for a user's record; nil for none.
func (f *Follower) Sealed(user, refresh string) []byte {
	if refresh == "" {
		return nil
	}
	return f.sealer.Seal("refresh token of "+user, []byte(refresh))
}

// Touch is called when a person uses the registry. When the groups have reached half of their
// maximum age, they are requested in the background. When they are too old, Touch waits for them,
// at most followWait. It reports whether the record may have changed.
func (f *Follower) Touch(ctx context.Context, name string) (changed bool) {
	user, known := f.users.Get(name)
	if !known || len(user.Refresh) == 0 || user.Issuer != f.provider.issuer || user.Disabled {
		return false
	}
	f.mu.Lock()
	age := f.provider.now().Sub(user.Verified)
	if age < f.every/2 || f.running[name] == nil && f.provider.now().Sub(f.tried[name]) < followRetry {
		f.mu.Unlock()
		return false
	}
	done := f.running[name]
	if done == nil {
		done = make(chan struct{})
		f.running[name] = done
		// The answer is for all requests of this name, not only for this one.
		go f.follow(context.WithoutCancel(ctx), user, done)
	}
	old := age >= f.every
	f.mu.Unlock()
	if !old {
		return false
	}
	timer := time.NewTimer(followWait)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (f *Follower) follow(ctx context.Context, user identity.User, done chan struct{}) {
	f.slots <- struct{}{}
	err := f.refresh(ctx, user)
	<-f.slots
	f.mu.Lock()
	defer f.mu.Unlock()
	defer close(done)
	delete(f.running, user.Name)
	delete(f.tried, user.Name)
	if err != nil {
		f.tried[user.Name] = f.provider.now()
		f.log.Warn("groups were not updated; the last known ones are used", "user", user.Name, "verified", user.Verified, "error", err)
	}
}

func (f *Follower) refresh(ctx context.Context, user identity.User) error {
	plain, err := f.sealer.Unseal("refresh token of "+user.Name, user.Refresh)
	if err != nil {
		return err
	}
	who, err := f.provider.refresh(ctx, user.Subject, string(plain))
	switch {
	case err == nil:
		_, err = f.record(ctx, user, func(u *identity.User) {
			u.Verified, u.Groups, u.Refresh = f.provider.now(), who.Groups, f.Sealed(user.Name, who.Refresh)
		})
	case errors.Is(err, ErrRefused) || errors.Is(err, ErrNotAllowed):
		refused := err
		var current bool
		current, err = f.record(ctx, user, func(u *identity.User) {
			u.Verified, u.Groups, u.Refresh = f.provider.now(), nil, nil
		})
		if current && err == nil {
			f.log.Warn("the provider has refused to refresh the user's groups; the user has no groups until the next sign-in", "user", user.Name, "error", refused)
		}
		if current {
			f.refused(ctx, user.Name)
		}
	case who.Refresh != "" && who.Refresh != string(plain):
		// The answer is invalid, but the old token is used up: without the new one the
		// next try would look as if the person had been disabled.
		current, kept := f.record(ctx, user, func(u *identity.User) {
			u.Refresh = f.Sealed(user.Name, who.Refresh)
		})
		if !current {
			return nil
		}
		err = errors.Join(err, kept)
	}
	return err
}

// record changes the record of a user. current is false, and nothing changed, if the
// person signed in meanwhile: those groups are newer.
func (f *Follower) record(ctx context.Context, user identity.User, change func(*identity.User)) (current bool, err error) {
	errOutdated := errors.New("the record has changed")
	_, err = f.users.Update(ctx, user.Name, func(u *identity.User) error {
		if string(u.Refresh) != string(user.Refresh) {
			return errOutdated
		}
		change(u)
		return nil
	})
	if errors.Is(err, errOutdated) {
		return false, nil
	}
	return true, err
}
