package running

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/store"
)

// pool has a *Storage for each storage that a configuration of this process names.
var pool = caddy.NewUsagePool()

// retryOpen is the time until the next try to open a storage that could not be opened: requests
// in the meantime are refused at once, and do not queue behind a slow disk.
const retryOpen = time.Second

// Storage is a storage that all configurations of the process share. The first caller that
// needs it opens it. It is closed when no configuration names it and no request uses it any
// more: a long pull may outlive the configuration under which it began.
type Storage struct {
	storage storage.Module
	log     *slog.Logger
	cache   cacheLink // the shared cache of all mirrors
	// Passwords remembers tried passwords of local users, for all configurations: a reload does
	// not reset it.
	Passwords *identity.Passwords
	// Health reports whether the storage works, from the moment when a configuration names it.
	Health *health.Checker
	// pulls is that of trees. Pulls use it without mu, which each request already locks twice.
	pulls atomic.Pointer[pulls.Times]
	// history is that of trees. Requests use it without mu, too.
	history atomic.Pointer[history]

	mu       sync.Mutex // guards what follows, and is held while opening
	trees    *Trees
	callers  *Callers
	open     storage.Buckets
	control  *control.Socket
	mirrors  map[string]*openMirror // by MirrorSpec.Key
	settings []*Settings            // of the configurations that have started, in that order
	failure  error                  // of the last try to open
	failedAt time.Time              // of failure
	users    int                    // requests and commands that run
	// configurations counts those that name it. The pool also counts them, but reports the end
	// of the last one when new ones may have come already.
	configurations int
	schedule       schedule
	// ended is closed when the storage is closed permanently.
	ended chan struct{}
}

// storages has each *Storage by its key, also those that no configuration names any more
// and a request still holds open. Only one process may use a storage, and within the
// process only one *Storage.
var storages sync.Map

// Storages returns the storages of this process, also those that no configuration names any
// more and a request still holds open.
func Storages() (all []*Storage) {
	storages.Range(func(_, value any) bool {
		all = append(all, value.(*Storage))
		return true
	})
	return all
}

// Load returns the storage that a configuration names, which the process may already have. It
// opens nothing. Unload must be called once for each successful call. Errors: the process has
// the storage with other settings, which cannot change.
func Load(module storage.Module, log *slog.Logger) (*Storage, error) {
	value, _, err := pool.LoadOrNew(module.Key(), func() (caddy.Destructor, error) {
		return storageOf(module, log), nil
	})
	if err != nil {
		return nil, err
	}
	s := value.(*Storage)
	if own, ok := module.(storage.Strict); ok {
		if err := own.Agrees(s.storage); err != nil {
			_, failed := pool.Delete(module.Key())
			return nil, errors.Join(err, failed)
		}
	}
	return s, nil
}

// Unload reverts Load and, unless settings is nil, Configure. If no other configuration has
// started since, the previous settings apply again.
func (s *Storage) Unload(c *Settings) error {
	s.unconfigure(c)
	_, err := pool.Delete(s.storage.Key())
	return err
}

// storageOf returns the open storage of the process, or one that will be opened. The
// pool calls it for the first configuration that names the storage.
func storageOf(storage storage.Module, log *slog.Logger) *Storage {
	if before, ok := storages.Load(storage.Key()); ok {
		s := before.(*Storage)
		s.mu.Lock() // waits until a closing storage is closed
		defer s.mu.Unlock()
		if s.trees != nil {
			s.configurations++
			return s
		}
	}
	s := &Storage{storage: storage, log: log, Passwords: identity.NewPasswords(nil), configurations: 1, ended: make(chan struct{})}
	s.Health = health.New(subject{s})
	storages.Store(storage.Key(), s)
	return s
}

// roster returns the administrators of the configuration that started last; nil before one has
// started.
func (s *Storage) roster() *admins.Roster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settings) == 0 {
		return nil
	}
	return s.settings[len(s.settings)-1].Admins
}

// Acquire returns the trees, opens them if necessary, and keeps them open until Release is
// called, once for every successful Acquire. ctx bounds only the opening. Errors:
// core.ErrUnavailable, with the reason why the storage could not be opened.
func (s *Storage) Acquire(ctx context.Context) (*Trees, error) {
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

// Callers returns the identities, tokens and sessions of the storage. The storage must be
// acquired.
func (s *Storage) Callers() *Callers { return s.callers }

// Release ends a use that Acquire began.
func (s *Storage) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.closeUnusedLocked()
}

// Destruct closes the storage, or leaves that to the last request that uses it. When the
// process exits, it ends these requests and waits at most closeLimit for them.
func (s *Storage) Destruct() error {
	if !caddy.Exiting() {
		s.leave()
		return nil
	}
	go s.leave() // a disk that hangs must not keep the process alive
	endRequests(s.log)
	s.end(closeLimit)
	return nil
}

// leave ends the use by a configuration.
func (s *Storage) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configurations--
	if s.configurations == 0 && s.trees != nil {
		s.trees.verifying.Interrupt() // otherwise the storage would stay open for hours
	}
	s.closeUnusedLocked()
}

func (s *Storage) closeUnusedLocked() {
	if s.configurations > 0 || s.users > 0 {
		return
	}
	if err := s.closeLocked(); err != nil {
		s.log.Error("storage was not closed cleanly", "error", err)
	}
	storages.CompareAndDelete(s.storage.Key(), s)
	close(s.ended)
}

// errReleased is the error of a request that comes after the last configuration.
var errReleased = errors.New("the registry is stopping")

func (s *Storage) openLocked(ctx context.Context) error {
	if s.configurations == 0 {
		return errReleased
	}
	if s.failure != nil && time.Since(s.failedAt) < retryOpen {
		return s.failure
	}
	// The storage outlives the request that opened it.
	if err := s.openNow(context.WithoutCancel(ctx)); err != nil {
		s.failure, s.failedAt = err, time.Now()
		return err
	}
	s.failure = nil
	s.schedule.opened = time.Now()
	return nil
}

func (s *Storage) openNow(ctx context.Context) error {
	opened, err := s.storage.Open(ctx, s.log)
	if err != nil {
		return err
	}
	trees, err := OpenTrees(ctx, opened, store.Settings{}, s.log)
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	callers, err := openCallers(ctx, trees.identity, s.log)
	if err != nil {
		return errors.Join(fmt.Errorf("identity: %w", err), trees.Close(), opened.Close())
	}
	s.open, s.trees, s.callers = opened, trees, callers
	trees.history = openHistory(storage.HistoryOf(opened), s.log)
	s.history.Store(trees.history)
	s.pulls.Store(trees.Pulls)
	trees.keeping = keep(trees, s.log)
	s.applyLocked()
	// The registry also works on a file system without sockets, and with a storage without a
	// local directory.
	if local := storage.LocalOf(opened); local != "" {
		if s.control, err = control.Listen(local, s.commands()); err != nil {
			s.log.Warn("commands cannot reach this process", "error", err)
		}
	}
	return nil
}

func (s *Storage) closeLocked() error {
	if s.trees == nil {
		return nil
	}
	err := errors.Join(s.control.Close(), s.closeMirrorsLocked(), s.callers.close(), s.trees.Close(), s.open.Close())
	s.history.Store(nil)
	s.control, s.callers, s.trees, s.open = nil, nil, nil, nil
	return err
}

// syncs counts the barriers of the open storage.
func (s *Storage) syncs() (files, directories, groups uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counted, ok := s.open.(storage.Syncs); ok {
		return counted.Syncs()
	}
	return 0, 0, 0
}

// Directory is the local directory of the open storage; empty: it has none.
func (s *Storage) Directory() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return storage.LocalOf(s.open)
}

var _ caddy.Destructor = (*Storage)(nil)
