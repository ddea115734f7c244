package running

import (
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

func TestKeysAreCountedByTheirState(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	keys := []identity.Key{
		{ID: "soon", Expires: start.Add(16 * day)},
		{ID: "later", Expires: start.Add(80 * day)},
		{ID: "revoked", Expires: start.Add(2 * day), Revoked: start},
		{ID: "expired", Expires: start.Add(-day)},
	}
	var counts keyCounts
	counts.add(keys, start.Add(3*day))
	if want := (keyCounts{1, 1, 1, keys[0].Expires}); counts != want {
		t.Errorf("got %+v, want %+v", counts, want)
	}
}
