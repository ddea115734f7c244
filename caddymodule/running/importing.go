package running

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/core/transfer"
)

// importPlace returns the destination of imports.
func (t *Trees) importPlace(keys *identity.Store) importing.Place {
	return importing.Place{Target: t.Private, Notes: t.notes, Keys: keys.Keys(), Pulls: t.Pulls, Room: t.pushes.Room}
}

// Import imports on trees that no process serves. The answer goes to w, as importing.Read
// reads it.
func (t *Trees) Import(ctx context.Context, order importing.Order, limits KeyLimits, w io.Writer) error {
	return withIdentity(ctx, t.identity, limits, func(keys *identity.Store) error {
		_, _ = order.Run(ctx, t.importPlace(keys), w) // its error is in the answer, or is that of w
		return nil
	})
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
	result, err := order.Run(r.Context(), trees.importPlace(s.callers.Identity), w)
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
