package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// piece is how much of an answer is sent before the time without progress begins anew,
// in bytes. Caddy's own 64 KiB cost a quarter of what sending a blob takes; with this a
// client must take 9 kB/s, at the minute that Caddy waits by default.
const piece = 512 << 10

// sendPieces has Caddy send larger pieces through w, unless the server's configuration
// says how large they are (max_write_chunk) or does not bound that time at all.
func sendPieces(w http.ResponseWriter) {
	for {
		if timed, ok := w.(*caddyhttp.IdleTimeoutWriter); ok {
			if timed.MaxChunk == 0 {
				timed.MaxChunk = piece
			}
			return
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = inner.Unwrap()
	}
}
