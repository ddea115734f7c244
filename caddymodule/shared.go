package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/health"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/quota"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// pool has a *shared for each storage that a configuration of this process names.
var pool = caddy.NewUsagePool()

// retryOpen is how long a storage that could not be opened is left alone: requests
// that arrive meanwhile are refused at once, and do not queue behind a slow disk.
const retryOpen = time.Second

// shared is a storage as all configurations of the process use it. It is opened by
// whoever needs it first, and closed when no configuration names it and no request
// uses it any more: a long pull may outlive the configuration that took it.
type shared struct {
	storage storage.Module
	log     *slog.Logger
	cache   cacheLink // what all mirrors share with
	// passwords are those of local users that were tried, whatever configuration
	// they stood in: a reload forgives no guesses and forgets nobody.
	passwords *identity.Passwords
	// health answers whether the storage works, from the moment when it is named.
	health *health.Checker
	// pulls is that of trees, for every pull: without mu, which each request holds twice.
	pulls atomic.Pointer[pulls.Times]

	mu       sync.Mutex // guards what follows, and is held while opening
	trees    *trees
	callers  *callers
	open     storage.Buckets
	control  *control.Socket
	mirrors  map[string]*openMirror // by mirrorSpec.key
	settings []*settings            // of the configurations that have started, in that order
	failure  error                  // of the last try to open
	failedAt time.Time              // of failure
	users    int                    // requests and commands that run
	// configurations counts those that name it. The pool counts them too, but says
	// that the last is gone when others may have come already.
	configurations int
	schedule       schedule
	// ended is closed when the storage is closed for good.
	ended chan struct{}
}

// storages has each *shared by its key, also those that no configuration names any more
// and a request still holds open. Only one process may use a storage, and within the
// process only one *shared.
var storages sync.Map

// sharedOf is the storage as the process has it open, or one that will be opened. The
// pool calls it for the first configuration that names the storage.
func sharedOf(storage storage.Module, log *slog.Logger) *shared {
	if before, ok := storages.Load(storage.Key()); ok {
		s := before.(*shared)
		s.mu.Lock() // if it is closing, until it is closed
		defer s.mu.Unlock()
		if s.trees != nil {
			s.configurations++
			return s
		}
	}
	s := &shared{storage: storage, log: log, passwords: identity.NewPasswords(nil), configurations: 1, ended: make(chan struct{})}
	s.health = health.New(subject{s})
	storages.Store(storage.Key(), s)
	return s
}

// settings are what one configuration has changed about what it shares.
type settings struct {
	options store.Options
	limits  quota.Limits
	bounds  evict.Settings
	verify  verify.Settings
	mirrors []mirrorSpec
	// lifetime is how long API keys last at most.
	lifetime time.Duration
	// keys is how many valid API keys a user may have; 0: identity.DefaultMaxKeys.
	keys int
	// signIn is how people sign in; nil: they do not.
	signIn *signInSpec
	cache  mirror.Shared // nil: nothing is shared
	// public reports whether everybody may know of a private repository.
	public func(repo string) bool
	// watch is told of keys that are made and revoked.
	watch func(identity.Change, identity.Key, string)
	// watchUsers is told of users whose record changed.
	watchUsers func(identity.UserChange)
	admins     *admins.Roster
}

// roster is what the configuration that started last says about administrators; nil
// before one has started.
func (s *shared) roster() *admins.Roster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settings) == 0 {
		return nil
	}
	return s.settings[len(s.settings)-1].admins
}

// configure applies the settings of a configuration that has started.
func (s *shared) configure(c *settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = append(s.settings, c)
	s.applyLocked()
}

// unconfigure takes them back with the configuration. If no other has started since,
// it did not stay: those before hold again.
func (s *shared) unconfigure(c *settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = slices.DeleteFunc(s.settings, func(other *settings) bool { return other == c })
	s.applyLocked()
}

func (s *shared) applyLocked() {
	if s.trees == nil || len(s.settings) == 0 {
		return
	}
	last := s.settings[len(s.settings)-1]
	s.trees.setOptions(last.options)
	s.trees.pushes.SetLimits(last.limits)
	s.callers.store.Keys().SetMaxLifetime(last.lifetime)
	s.callers.store.Keys().SetMaxKeys(last.keys)
	if last.signIn != nil {
		s.callers.signIn(last.signIn).apply(last.signIn)
	}
	s.callers.store.Keys().Watch(last.watch)
	s.callers.store.Users().Watch(last.watchUsers)
	s.trees.keeping.evictor.SetSettings(last.bounds)
	s.trees.keeping.census.SetPublic(last.public)
	s.trees.verifying.SetSettings(last.verify)
	s.cache.set(last.cache)
	for _, spec := range last.mirrors {
		if m := s.mirrors[spec.key]; m != nil {
			m.SetSettings(spec.settings)
		}
	}
}

// acquire returns the trees, opened if they were not, and keeps them open until release
// is called: once for every acquire that succeeded. ctx bounds nothing but the
// opening. Errors: core.ErrUnavailable, with what kept the storage from opening.
func (s *shared) acquire(ctx context.Context) (*trees, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		if err := s.openLocked(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
		}
	}
	s.users++
	return s.trees, nil
}

// release ends a use that acquire began.
func (s *shared) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.closeUnusedLocked()
}

// Destruct closes the storage, or leaves that to the last request that uses it. When the
// process exits, it ends these requests and waits for them, for closeLimit at most.
func (s *shared) Destruct() error {
	if !caddy.Exiting() {
		s.leave()
		return nil
	}
	go s.leave() // a disk that hangs must not keep the process
	endRequests(s.log)
	s.end(closeLimit)
	return nil
}

// leave ends the use by a configuration.
func (s *shared) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configurations--
	if s.configurations == 0 && s.trees != nil {
		s.trees.verifying.Interrupt() // or the storage would stay open for hours
	}
	s.closeUnusedLocked()
}

func (s *shared) closeUnusedLocked() {
	if s.configurations > 0 || s.users > 0 {
		return
	}
	if err := s.closeLocked(); err != nil {
		s.log.Error("storage was not closed cleanly", "error", err)
	}
	storages.CompareAndDelete(s.storage.Key(), s)
	close(s.ended)
}

// errReleased is what a request meets that comes after the last configuration.
var errReleased = errors.New("the registry is stopping")

func (s *shared) openLocked(ctx context.Context) error {
	if s.configurations == 0 {
		return errReleased
	}
	if s.failure != nil && time.Since(s.failedAt) < retryOpen {
		return s.failure
	}
	// The storage outlives the request that happened to open it.
	if err := s.openNow(context.WithoutCancel(ctx)); err != nil {
		s.failure, s.failedAt = err, time.Now()
		return err
	}
	s.failure = nil
	s.schedule.opened = time.Now()
	return nil
}

func (s *shared) openNow(ctx context.Context) error {
	opened, err := s.storage.Open(ctx, s.log)
	if err != nil {
		return err
	}
	trees, err := openTrees(ctx, opened, store.Options{}, s.log)
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	callers, err := openCallers(ctx, trees.identity, s.log)
	if err != nil {
		return errors.Join(fmt.Errorf("identity: %w", err), trees.close(), opened.Close())
	}
	s.open, s.trees, s.callers = opened, trees, callers
	s.pulls.Store(trees.pulls)
	trees.keeping = keep(trees, s.log)
	s.applyLocked()
	// A file system without sockets can keep a registry nevertheless, and so can a storage
	// without a local directory.
	if local := storage.LocalOf(opened); local != "" {
		if s.control, err = control.Listen(local, s.commands()); err != nil {
			s.log.Warn("commands cannot reach this process", "error", err)
		}
	}
	return nil
}

func (s *shared) closeLocked() error {
	if s.trees == nil {
		return nil
	}
	err := errors.Join(s.control.Close(), s.closeMirrorsLocked(), s.callers.close(), s.trees.close(), s.open.Close())
	s.control, s.callers, s.trees, s.open = nil, nil, nil, nil
	return err
}

// syncs counts the barriers of the open storage.
func (s *shared) syncs() (files, directories, groups uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counted, ok := s.open.(storage.Syncs); ok {
		return counted.Syncs()
	}
	return 0, 0, 0
}

var _ caddy.Destructor = (*shared)(nil)
