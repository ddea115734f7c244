package identity

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
)

// use records a use from an address; empty: the address is not known.
func (h *heldKey) use(at time.Time, address string) {
	if address != "" && len(address) <= maxFrom {
		if before := h.from.Load(); before == nil || *before != address {
			h.from.Store(&address)
		}
	}
	h.used.Store(at.UnixNano()) // last: writeUses looks at it first
}

// writeUses writes the last uses that are not on the disk yet. It is called by one
// goroutine at a time. The address comes first: what is written of a use says that all of it is.
func (k *Keys) writeUses(ctx context.Context) error {
	k.mu.RLock()
	all := maps.Clone(k.byID)
	k.mu.RUnlock()
	for id, held := range all {
		used := held.used.Load()
		if used == held.written {
			continue
		}
		if from := held.from.Load(); from != held.fromWritten {
			if err := k.put(ctx, fromPrefix+id, *from); err != nil {
				return err
			}
			held.fromWritten = from
		}
		if err := k.put(ctx, "uses/"+id, time.Unix(0, used).UTC()); err != nil {
			return err
		}
		held.written = used
	}
	return nil
}

// put writes a value as JSON.
func (k *Keys) put(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		_, err = k.bucket.Put(ctx, key, data, bucket.Condition{})
	}
	return err
}
