package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// piece is how much of a blob Caddy hands on at once, in bytes, before the time
	// without progress begins anew. Its own 64 KiB cost a quarter of what sending a
	// blob takes. nginx has the same (sendfile_max_chunk).
	piece = 2 << 20
	// pieceTime is how many times as long as configured a piece may take, since that
	// time is for a whole one: at Caddy's minute a client must take 9 kB/s.
	pieceTime = 4
)

// sendPieces has Caddy send larger pieces until restore is called. It changes nothing
// where the configuration says how large they are (write_max_chunk of the server, other
// than 64 KiB), how fast a client must be (the second word of write_idle), or that nothing
// bounds the time.
func sendPieces(ctx context.Context) (restore func()) {
	_, timed := caddyhttp.IdleTimeoutsFromContext(ctx)
	// The default is filled in when the server is provisioned: whoever wrote it down
	// cannot be told from who did not.
	if timed == nil || timed.MaxChunk != 0 && timed.MaxChunk != caddyhttp.DefaultMaxWriteChunk || timed.Deadline.MinRate > 0 {
		return func() {}
	}
	return timed.Override(pieceTime*timed.Deadline.Timeout, 0, piece)
}
