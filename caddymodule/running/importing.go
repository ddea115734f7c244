package running

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/importing"
)

// importPlace is where imports go.
func (t *Trees) importPlace(keys *identity.Store) importing.Place {
	return importing.Place{Target: t.Private, Notes: t.notes, Keys: keys.Keys()}
}

// Import imports on trees that no process serves. The answer goes to w, as importing.Read
// reads it.
func (t *Trees) Import(ctx context.Context, order importing.Order, limits KeyLimits, w io.Writer) error {
	return withIdentity(ctx, t.identity, limits, func(keys *identity.Store) error {
		return order.Run(ctx, t.importPlace(keys), w)
	})
}

// serveImport imports in the running process. A caller that goes away ends it.
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
	log := s.callers.log.With("zot", order.Zot, "dry_run", order.DryRun)
	log.Info("import has begun")
	if err := order.Run(r.Context(), trees.importPlace(s.callers.Identity), w); err != nil {
		log.Warn("import was ended by its command", "error", err)
		return
	}
	log.Info("import has ended")
}
