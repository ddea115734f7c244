package mirror

import (
	"time"

	"github.com/eblume/caddy-registry/core/upstream"
)

// scarce is the share of a pull limit below which freshness is stretched: one tenth.
const scarce = 10

// ttl is how long a tag or a list is trusted now. When less than a tenth of the upstream's pull
// limit is left, Settings.TTL grows in inverse proportion to the rest: with a twentieth left it
// is doubled, and with nothing left it lasts until the window of the limit is over. It is never
// more than that window, or MaxStale. The limit is the one for how the mirror asks, with
// credentials or without.
func (m *Mirror) ttl() time.Duration {
	settings := m.settings.Load()
	limited, ok := m.upstream.(interface{ Limit() upstream.Limit })
	if !ok {
		return settings.TTL
	}
	limit := limited.Limit()
	most := min(limit.Window, settings.MaxStale)
	if limit.Limit <= 0 || limit.Remaining*scarce >= limit.Limit || time.Since(limit.At) >= limit.Window || settings.TTL >= most {
		m.stretched.Store(false)
		return settings.TTL
	}
	ttl := most
	if limit.Remaining > 0 {
		// In floating point, as a hostile limit must not overflow.
		ttl = time.Duration(min(float64(most), float64(settings.TTL)*float64(limit.Limit)/float64(scarce*limit.Remaining)))
	}
	if !m.stretched.Swap(true) {
		m.log.Warn("little is left of the upstream's pull limit; tags are trusted for longer meanwhile",
			"remaining", limit.Remaining, "limit", limit.Limit, "window", limit.Window, "ttl", ttl)
	}
	return ttl
}
