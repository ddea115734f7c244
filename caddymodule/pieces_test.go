package caddymodule

import (
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestPiecesAreLargerUnlessConfigured(t *testing.T) {
	for configured, want := range map[int]int{0: piece, 1 << 10: 1 << 10} {
		timed := &caddyhttp.IdleTimeoutWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: httptest.NewRecorder()},
			MaxChunk:              configured,
		}
		sendPieces(&caddyhttp.ResponseWriterWrapper{ResponseWriter: timed})
		if timed.MaxChunk != want {
			t.Errorf("with %d configured: pieces of %d bytes, want %d", configured, timed.MaxChunk, want)
		}
	}
	sendPieces(httptest.NewRecorder()) // nobody bounds the time
}
