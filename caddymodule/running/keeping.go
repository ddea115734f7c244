package running

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/census"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/usage"
	"github.com/eblume/caddy-registry/core/wire"
)

// The keys of the pulls, in the bucket of the mirrors and in that of private images.
const (
	pullsPrefix  = "mirror/pulls/"
	privatePulls = "pulls/"
)

// keeping bounds the content of mirrors, and remembers its clients. It belongs to the
// open storage and not to a configuration.
type keeping struct {
	usage   *usage.Counter
	evictor *evict.Evictor
	census  *census.Census // of all trees
}

// keep begins to count the content of the trees. Nothing is evicted before a configuration has
// set the limits: another one's may be wider.
func keep(t *Trees, log *slog.Logger) *keeping {
	k := &keeping{census: newCensus(t, log)}
	log = log.With("tree", storage.MirrorsTree)
	k.usage = usage.New(t.State, log)
	k.evictor = evictorOf(t, false, log)
	return k
}

// evictorOf returns the evictor of the mirrors. An idle one is for a command.
func evictorOf(t *Trees, idle bool, log *slog.Logger) *evict.Evictor {
	var disk evict.Disk
	if t.mirrorsDisk != "" {
		disk = evict.DiskOf(t.mirrorsDisk)
	}
	sum := &evictions{history: t.history}
	return evict.New(evict.Config{
		Local: t.Mirrors, Pulls: t.mirrorPulls, Disk: disk, Idle: idle,
		Beside: &mirror.Beside{State: t.State, Local: t.Mirrors, Log: log},
		Evicted: func(gone store.Evicted) {
			observe.CountEviction(gone)
			sum.add(gone)
		},
		Passed: func() {
			observe.Succeeded(observe.TaskEvict)
			sum.passed()
		},
		Log: log,
	})
}

// close ends it, before the trees are closed.
func (k *keeping) close() error {
	if k == nil {
		return nil
	}
	return errors.Join(k.census.Close(), k.evictor.Close(), k.usage.Close())
}

// CountUse records a client of a mirror, and the form of its request. The storage must be open.
func (s *Storage) CountUse(request namespace.Resolved, address string) {
	s.mu.Lock()
	usage := s.trees.keeping.usage
	s.mu.Unlock()
	usage.Count(request.Mirror, string(request.Form), address)
}

// CountPull records that a user received a private manifest, or that the user's copy is still
// current; empty: anonymous. The storage must be open.
func (s *Storage) CountPull(request wire.Request, answer http.Header, o wire.Outcome, user string) {
	if o.Status != http.StatusOK && o.Status != http.StatusNotModified {
		return
	}
	d := request.Ref.Digest
	if d == "" {
		d = digest.Digest(answer.Get("Docker-Content-Digest"))
	}
	s.pulls.Load().Mark(request.Repo, d, request.Ref.Tag, user)
}
