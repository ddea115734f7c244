package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

func init() {
	caddy.RegisterModule(pieceWatch{})
	httpcaddyfile.RegisterHandlerDirective("oci_test_pieces",
		func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
			return new(pieceWatch), nil
		})
}

// pieceWatch stands before the registry. It writes into the header of an answer what
// bounds its pieces, and sends to piecesAfter what does when the registry is done with a
// GET.
type pieceWatch struct{}

var piecesAfter = make(chan string, 1)

func (pieceWatch) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.oci_test_pieces", New: func() caddy.Module { return new(pieceWatch) }}
}

func (pieceWatch) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	_, timed := caddyhttp.IdleTimeoutsFromContext(r.Context())
	err := next.ServeHTTP(&watchedWriter{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, timed}, r)
	// A start asks /v2/ itself, to see whether it is alone on its address.
	if r.Method == http.MethodGet && r.URL.Path != "/v2/" {
		piecesAfter <- bounds(timed)
	}
	return err
}

func bounds(timed *caddyhttp.IdleTimeoutWriter) string {
	if timed == nil {
		return "unbounded"
	}
	return fmt.Sprintf("%d in %v", timed.MaxChunk, timed.Deadline.Timeout)
}

type watchedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	timed *caddyhttp.IdleTimeoutWriter
}

func (w *watchedWriter) WriteHeader(status int) {
	w.Header().Set("Pieces", bounds(w.timed))
	w.ResponseWriterWrapper.WriteHeader(status)
}

func TestPiecesOfABlobAreLargeUnlessConfigured(t *testing.T) {
	for _, row := range []struct {
		name     string
		server   map[string]any
		route    string // directives before the registry
		blob     string
		manifest string
	}{
		{"by default", nil, "", "2097152 in 4m0s", "65536 in 1m0s"},
		{"with a time", map[string]any{"write_idle_timeout": 10 * time.Second}, "", "2097152 in 40s", "65536 in 10s"},
		{"with a size", map[string]any{"max_write_chunk": 1 << 10}, "", "1024 in 1m0s", "1024 in 1m0s"},
		{"with a rate", map[string]any{"write_min_rate": 100}, "", "65536 in 1m0s", "65536 in 1m0s"},
		{"without bound", map[string]any{"write_idle_timeout": -1}, "", "unbounded", "unbounded"},
		{"bounded by the route alone", map[string]any{"write_idle_timeout": -1}, "timeouts {\nwrite_timeout 10s\n}\n",
			"2097152 in 40s", "0 in 10s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			var config map[string]any
			caddyfile := strings.Replace(registrytest.Caddyfile(port, t.TempDir(), registrytest.AllowAll, ""),
				"\toci_registry\n", "\troute {\n"+row.route+"\t\toci_test_pieces\n\t\toci_registry\n\t}\n", 1)
			if err := json.Unmarshal(registrytest.Adapt(t, caddyfile), &config); err != nil {
				t.Fatal(err)
			}
			server := config
			for _, name := range []string{"apps", "http", "servers", "srv0"} {
				server = server[name].(map[string]any)
			}
			for name, value := range row.server {
				server[name] = value
			}
			changed, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			registrytest.LoadJSON(t, changed)
			r := registrytest.At(t, port)
			r.PushImage("team/app", "v1", []byte("a layer"))
			blob := r.PushBlob("team/app", []byte("a blob"))
			for path, want := range map[string]string{"blobs/" + blob.String(): row.blob,
				"manifests/v1": row.manifest} {
				response, _ := r.Want(http.StatusOK, "GET", "/v2/team/app/"+path, nil)
				if got := response.Header.Get("Pieces"); got != want {
					t.Errorf("%s: pieces of %s, want %s", path, got, want)
				}
				if got := <-piecesAfter; got != row.manifest {
					t.Errorf("after %s: pieces of %s, want %s as before", path, got, row.manifest)
				}
			}
		})
	}
}
