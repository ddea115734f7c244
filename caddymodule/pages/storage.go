package pages

import (
	"bytes"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/overview"
)

// treeShown is a part of the storage.
type treeShown struct {
	overview.Tree
	Title string
	// Used is how much of the disk is used, of 100.
	Used string
}

type storagePage struct {
	frame
	overview.Storage
	Parts []treeShown
	Last  []happened
}

// storage shows disks and what fills them. The visitor is an administrator.
func (s *Site) storage(w http.ResponseWriter, r *http.Request) {
	stored, err := s.View.Storage(r.Context())
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	p := storagePage{frame: s.frame(r.Context(), "Storage"), Storage: stored}
	p.Frame.Here = "storage"
	for _, tree := range stored.Trees {
		shown := treeShown{Tree: tree, Title: "Private images"}
		if tree.Name == "mirrors" {
			shown.Title = "What mirrors hold"
		}
		if tree.Disk != nil && tree.Disk.Total > 0 {
			shown.Used = percentWidth(tree.Disk.Total-tree.Disk.Free, tree.Disk.Total)
		}
		p.Parts = append(p.Parts, shown)
	}
	for _, round := range stored.Rounds {
		p.Last = append(p.Last, happenedOf(overview.Event{Kind: round.Kind, Time: round.Time, Text: round.Text}))
	}
	s.render(w, r, http.StatusOK, "storage", p, new(bytes.Buffer))
}
