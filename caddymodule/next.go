package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core/wire"
)

// unhandledVar is the variable of a request that Caddy sets at the end of a chain of
// handlers that nothing has answered. Caddy then sends 200 without a body.
const unhandledVar = "unhandled"

// serveNext passes a request on that is not the registry's. If the site has no other
// handler for it, it is answered with JSON below /api/, with a page about images, or else with 404.
func (h *Handler) serveNext(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx := r.Context()
	caddyhttp.SetVar(ctx, unhandledVar, false) // an earlier handler may have had a chain of its own
	answer := &answerWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(answer, r); err != nil {
		return err
	}
	if unhandled, _ := caddyhttp.GetVar(ctx, unhandledVar).(bool); !unhandled || answer.begun {
		return nil
	}
	caddyhttp.SetVar(ctx, unhandledVar, false) // or the access log has NOP for the answer
	if api.Serves(r.URL.Path) && h.serveAPI(w, r) {
		return nil
	}
	if h.serveImages(w, r) {
		return nil
	}
	if r.URL.Path != "/" {
		wire.Protect(w.Header())
		wire.LeaveBody(w, r)
		http.Error(w, "404 page not found. The registry is at /v2/.", http.StatusNotFound)
		return nil
	}
	if !h.servePages(w, r) {
		serveRoot(w, r)
	}
	return nil
}

// serveRoot answers the root of a site without pages.
func serveRoot(w http.ResponseWriter, r *http.Request) {
	wire.Protect(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		wire.LeaveBody(w, r)
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "This is a container registry. Pull an image with\n\n    docker pull %s/<name>:<tag>\n", r.Host)
}

// answerWriter notes whether an answer was begun. It passes everything on at once.
type answerWriter struct {
	*caddyhttp.ResponseWriterWrapper
	begun bool
}

// WriteHeader implements http.ResponseWriter. A status below 200 announces an answer,
// except for 101, which is one.
func (w *answerWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(data []byte) (int, error) {
	w.begun = true
	return w.ResponseWriterWrapper.Write(data)
}

// ReadFrom implements io.ReaderFrom, by which files are sent without a copy.
func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begun = true
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is called by http.ResponseController. It sends the header.
func (w *answerWriter) FlushError() error {
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack is called by http.ResponseController. The connection is the handler's then.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.begun = w.begun || err == nil
	return conn, buffered, err
}

var (
	_ io.ReaderFrom = (*answerWriter)(nil)
	_ http.Hijacker = (*answerWriter)(nil)
)
