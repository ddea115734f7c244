package importing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

// KeyItem is what became of an API key.
type KeyItem struct {
	// Label and Owner are those of the key in zot; ID names it here.
	Label   string           `json:"label"`
	Owner   string           `json:"owner"`
	ID      string           `json:"id,omitempty"`
	Expires time.Time        `json:"expires,omitzero"`
	Outcome transfer.Outcome `json:"outcome"`
	Reason  string           `json:"reason,omitempty"`
}

// keys imports the API keys of a zot. Those that cannot be imported are named.
func (o Order) keys(ctx context.Context, source *zot.Directory, keys *identity.Keys) ([]KeyItem, error) {
	found, err := source.Keys()
	if err != nil {
		return nil, fmt.Errorf("API keys of zot: %w", err)
	}
	var items []KeyItem
	for _, key := range found {
		if !key.Expires.IsZero() && time.Now().After(key.Expires) {
			items = append(items, KeyItem{Label: key.Label, Owner: key.Owner, Expires: key.Expires, Outcome: transfer.Skipped, Reason: "it has expired"})
			continue
		}
		take := keys.Import
		if o.DryRun {
			take = keys.PlanImport
		}
		made, err := take(ctx, identity.ImportedKey{
			Hash: key.Hash, Owner: cmp.Or(o.Users[key.Owner], key.Owner), Name: key.Label, Groups: o.Groups,
			Created: key.Created, Expires: key.Expires,
		})
		item := KeyItem{Label: key.Label, Owner: key.Owner, ID: made.ID, Expires: made.Expires, Outcome: transfer.Imported}
		switch {
		case errors.Is(err, identity.ErrKeyImported):
			item.Outcome, item.Reason = transfer.Unchanged, "it was imported before"
		case errors.Is(err, identity.ErrKeyInvalid), errors.Is(err, identity.ErrUserInvalid), errors.Is(err, identity.ErrTooManyKeys):
			item.Outcome, item.Reason = transfer.LeftOut, err.Error()
		case err != nil:
			return items, err
		}
		items = append(items, item)
	}
	return items, nil
}
