package running

import (
	"context"
	"io"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

// Export writes images of a private repository to w, as layout.Export does. An empty ref stands
// for all tags.
func (t *Trees) Export(ctx context.Context, w io.Writer, repo string, ref core.Reference) error {
	if ref == (core.Reference{}) {
		return layout.Export(ctx, w, t.Private, repo)
	}
	return layout.Export(ctx, w, t.Private, repo, ref)
}

// serveExport exports in the running process. An error after the first byte ends the answer
// before its end, which the command notices.
func (s *Storage) serveExport(w http.ResponseWriter, r *http.Request) {
	repo, ref, err := control.ParseTarget(r.URL.Query().Get("name"))
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	trees, err := s.Acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.Release()
	log := s.callers.log.With("repository", repo, "reference", ref.String())
	answer := &begun{ResponseWriter: w}
	switch err := trees.Export(r.Context(), answer, repo, ref); {
	case err == nil:
		log.Info("images exported")
	case !answer.begun:
		control.Answer(w, nil, err)
	default:
		log.Warn("export ended early", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// begun notes whether anything was written.
type begun struct {
	http.ResponseWriter
	begun bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.begun = true
	return b.ResponseWriter.Write(p)
}
