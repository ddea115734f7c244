package running

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/transfer"
)

// importPlace returns the destination of imports. open returns an open mirror.
func (t *Trees) importPlace(
	keys *identity.Store, keeper *evict.Evictor, open func(name string) (*openMirror, error),
) importing.Place {
	return importing.Place{
		Target: t.Private, Notes: t.notes, Keys: keys.Keys(), Pulls: t.Pulls, Room: t.pushes.Room,
		Mirror: func(name string) (*transfer.Mirror, error) {
			m, err := open(name)
			if err != nil {
				return nil, err
			}
			return &transfer.Mirror{
				Target: t.Mirrors, Upstream: m.Mirror, Kept: keeper.Kept,
				Room: func(ctx context.Context, repo string, size int64) error {
					spare, err := keeper.Spare(ctx, repo, size)
					if err == nil && !spare {
						err = transfer.Skip("min_free, or max_size of the mirror, leaves no space for it; the mirror fetches it when it is asked for")
					}
					return err
				},
			}, nil
		},
	}
}

// ImportSettings are what an import on trees needs of a configuration.
type ImportSettings struct {
	Keys KeyLimits
	// Mirrors returns the mirrors with their secrets. It is called when one of them is needed.
	Mirrors func() ([]MirrorSpec, error)
	// Bounds are those of what mirrors may hold.
	Bounds evict.Settings
}

// Import imports on trees that no process serves. The answer goes to w, as importing.Read
// reads it.
func (t *Trees) Import(ctx context.Context, order importing.Order, c ImportSettings, w io.Writer) error {
	return withIdentity(ctx, t.identity, c.Keys, func(keys *identity.Store) (err error) {
		log := slog.New(slog.DiscardHandler)
		times := pulls.New(pulls.Config{Bucket: t.State, Prefix: pullsPrefix, Log: log})
		keeper := evictorOf(t, times, true, log)
		keeper.SetSettings(c.Bounds)
		specs, mirrors := sync.OnceValues(c.Mirrors), map[string]*openMirror{}
		defer func() {
			var errs []error
			for _, m := range mirrors {
				errs = append(errs, m.close())
			}
			err = errors.Join(append(errs, keeper.Close(), times.Close())...)
		}()
		place := t.importPlace(keys, keeper, func(name string) (*openMirror, error) {
			if mirrors[name] == nil {
				spec, err := specOf(name, specs)
				if err != nil {
					return nil, err
				}
				if mirrors[name], err = t.openMirror(spec, keeper, nil, log); err != nil {
					delete(mirrors, name)
					return nil, err
				}
			}
			return mirrors[name], nil
		})
		_, _ = order.Run(ctx, place, w) // its error is in the answer, or is that of w
		return nil
	})
}

// specOf finds a mirror by its name.
func specOf(name string, specs func() ([]MirrorSpec, error)) (MirrorSpec, error) {
	all, err := specs()
	if err != nil {
		return MirrorSpec{}, err
	}
	for _, spec := range all {
		if spec.Name == name {
			return spec, nil
		}
	}
	return MirrorSpec{}, fmt.Errorf("the registry has no mirror %s yet; reload its configuration, and import again", name)
}

// openNamed returns a mirror of the running configuration.
func (s *Storage) openNamed(name string) (*openMirror, error) {
	spec, err := specOf(name, s.mirrorSpecs)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mirrorLocked(spec)
}

// mirrorSpecs returns the mirrors of the configuration that started last.
func (s *Storage) mirrorSpecs() ([]MirrorSpec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settings) == 0 {
		return nil, errReleased
	}
	return s.settings[len(s.settings)-1].Mirrors, nil
}

// serveImport imports in the running process. It ends if the caller disconnects.
func (s *Storage) serveImport(w http.ResponseWriter, r *http.Request) {
	var order importing.Order
	err := json.NewDecoder(r.Body).Decode(&order)
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	trees, err := s.Acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.Release()
	w.Header().Set("Content-Type", "application/jsonl")
	log := s.callers.log.With("from", order.From(), "dry_run", order.DryRun)
	log.Info("import started")
	began := time.Now()
	place := trees.importPlace(s.callers.Identity, trees.keeping.evictor, s.openNamed)
	result, err := order.Run(r.Context(), place, w)
	sum := result.Summary
	log = log.With("repositories", sum.Repositories, "found", sum.Found, "imported", sum.Imported, "unchanged", sum.Unchanged,
		"skipped", sum.Skipped, "left_out", sum.LeftOut, "blobs", sum.Blobs, "bytes", sum.Bytes, "shared", sum.Shared,
		"linked", sum.Linked, "cloned", sum.Cloned, "bytes_saved", sum.Saved,
		"keys", result.KeysThatAre(transfer.Imported), "took", time.Since(began))
	if err != nil {
		log.Warn("import ended early", "error", err)
		return
	}
	log.Info("import ended")
}
