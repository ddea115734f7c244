package running

import (
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/control"
)

// commands handles the requests of commands in the process that has the storage open. Package
// control describes each path.
func (s *Storage) commands() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /gc", s.serveGC)
	mux.HandleFunc("POST /identity", s.serveIdentity)
	mux.HandleFunc("POST /purge", s.servePurge)
	mux.HandleFunc("POST /verify", s.serveVerify)
	mux.HandleFunc("POST /import", s.serveImport)
	mux.HandleFunc("POST /export", s.serveExport)
	mux.HandleFunc("POST /condition", s.serveCondition)
	mux.HandleFunc("/api/", s.serveAPI)
	return mux
}

// serveGC runs the collector. It stops if the caller disconnects.
func (s *Storage) serveGC(w http.ResponseWriter, r *http.Request) {
	dryRun := r.URL.Query().Get("dry_run") == "true"
	collected, err := s.collect(r.Context(), dryRun)
	control.Answer(w, control.GCReport{Collected: collected, DryRun: dryRun}, err)
}
