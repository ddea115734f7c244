package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	upstreams "github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// explain says more about an error of a call to this caller: which registry was meant, or
// that nothing is pushed to a mirror.
func (c *call) explain(err error) error {
	switch {
	case c.Mirror != "" && c.r.Method == http.MethodHead && c.who.Push:
		return unlessPushed(c.Request, err)
	case c.Mirror != "" && pushes(c.Kind) && errors.Is(err, core.ErrDenied):
		// This holds whatever the policy says: there is no right to it that could be
		// given.
		return upstreams.RefusePush(c.Mirror, c.app.pushTo())
	case c.Mirror == "" && (errors.Is(err, core.ErrNameUnknown) || errors.Is(err, core.ErrDenied) && c.Kind.Writes()):
		if hint := c.noMirror(c.Request, c.who.Identity); hint != "" {
			return core.WithPublic(fmt.Errorf("%w; %s", err, hint), core.Public(err)+"; "+hint)
		}
	}
	return err
}

// unlessPushed says "not here" instead of trouble with the upstream, to a client that looks
// whether it has to push something. It then tries to, and is told that nobody can: skopeo
// and crane give up after a 502 without a reason. A client that would pull is not told so.
func unlessPushed(request wire.Request, err error) error {
	if !errors.Is(err, core.ErrUpstream) && !errors.Is(err, core.ErrUpstreamTimeout) && !errors.Is(err, core.ErrTooManyRequests) {
		return err
	}
	switch request.Kind {
	case wire.Blob:
		return core.WithPublic(fmt.Errorf("%w: asked for to push, and the upstream cannot be asked: %v", core.ErrBlobUnknown, err), core.ErrBlobUnknown.Message)
	case wire.Manifest:
		return core.WithPublic(fmt.Errorf("%w: asked for to push, and the upstream cannot be asked: %v", core.ErrManifestUnknown, err), core.ErrManifestUnknown.Message)
	}
	return err
}

// pushes reports whether a request adds something. What a mirror holds may be deleted.
func pushes(kind wire.Kind) bool {
	return kind.Writes() && kind != wire.DeleteManifest && kind != wire.DeleteBlob
}

// pushTo is where pushes go that are not for a mirror.
func (a *App) pushTo() string {
	if len(a.site.Private) == 0 {
		return upstreams.AnyOther
	}
	return a.site.Private.String()
}

// noMirror says that the registry which the client seems to mean is not mirrored, and
// which are, of those in which the caller may read anything.
func (h *Handler) noMirror(request wire.Request, who policies.Identity) string {
	host := h.site.Foreign(request)
	if host == "" {
		return ""
	}
	return namespace.NoMirror(host, h.visibleMirrors(who))
}

// presumed is who asks for a name that nobody claims, as far as that can be seen. A
// credential that is refused changes nothing about the answer: containerd sends those of
// another registry with the pull that it then makes there.
func (h *Handler) presumed(r *http.Request, a asked) identity.Proven {
	if _, err := h.app.acquire(r.Context()); err != nil {
		return identity.Proven{}
	}
	defer h.app.storage.Release()
	who, err := h.admit(r.Context(), h.gate(), a, nil)
	if err != nil {
		return identity.Proven{}
	}
	return who
}
