package caddymodule

import (
	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/policies"
)

// overview is what a caller sees of the registry itself. guarded is the registry for the caller, and the
// storage must be acquired.
func (h *Handler) overview(guarded core.Registry, who policies.Identity) *overview.Viewer {
	specs, err := h.app.specs()
	if err != nil {
		h.log.Error("mirrors are not shown", "error", err)
	}
	return &overview.Viewer{
		Source: h.app.storage.Overview(specs, h.app.collection.Schedule()), Registry: guarded, Policy: h.app.policy, Who: who,
		Mirrors: h.visibleMirrors(who), Owner: h.site.Owner,
		Credentialed: func(mirror string) bool { m := h.app.Mirrors[mirror]; return m != nil && m.Credentialed() },
	}
}
