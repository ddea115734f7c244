package namespace

import (
	"fmt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// Resolve gives the request its canonical names.
//
// Errors: ErrNameUnknown when `ns` names a registry that is neither this one nor
// configured, and for a read of a name that nobody claims; ErrDenied for a push to
// such a name, with the names that can be pushed to.
//
// A `from` that nobody claims is not an error: the mount finds nothing, and becomes
// an ordinary upload.
func Resolve(request wire.Request, site Site) (wire.Request, error) {
	if request.NS != "" && !site.ourselves(request.NS) {
		return request, fmt.Errorf("%w: this registry does not serve ns=%s; ask that registry itself", core.ErrNameUnknown, clip(request.NS))
	}
	if request.Name == "" || site.Claims(request.Name) {
		return request, nil
	}
	if request.Kind.Writes() {
		return request, fmt.Errorf("%w: %s is not a name of this registry, which keeps %s", core.ErrDenied, request.Name, site.Private)
	}
	return request, fmt.Errorf("%w: %s", core.ErrNameUnknown, request.Name)
}

// clip keeps a client's nonsense out of logs and answers. A host name has at most
// 253 bytes; this is enough to recognise one.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
