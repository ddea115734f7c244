package namespace

import (
	"fmt"
	"slices"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// Resolve gives the request its canonical names.
//
// Errors: ErrNameUnknown when `ns` names a registry that is neither this one nor a
// mirror, and for a read of a name that nobody claims; ErrDenied for a push to such a
// name, with the names that can be pushed to; ErrNameInvalid for a name that is too
// long with its mirror's prefix.
//
// A `from` that nobody claims is not an error: the mount finds nothing, and becomes
// an ordinary upload.
func Resolve(request wire.Request, site Site) (wire.Request, error) {
	mirror := ""
	if request.NS != "" && !site.ourselves(request.NS) {
		if mirror = site.NamedBy(request.NS); !slices.Contains(site.Mirrors, mirror) {
			return request, fmt.Errorf("%w: this registry does not serve ns=%s; ask that registry itself", core.ErrNameUnknown, clip(request.NS))
		}
	}
	if request.Name == "" {
		return request, nil
	}
	if from, ok := site.canonical(request.From, mirror); ok && request.From != "" {
		request.From = from
	}
	repo, ok := site.canonical(request.Name, mirror)
	if ok {
		request.Repo = repo
		if len(repo) > len(request.Name) {
			_, err := core.ParseName(repo)
			return request, err
		}
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
