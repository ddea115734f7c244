package namespace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/nearby"
	"github.com/eblume/caddy-registry/core/wire"
)

// Form is how a client names a mirror.
type Form string

const (
	ByNS       Form = "ns"       // with `ns`
	ByPrefix   Form = "prefix"   // with the mirror's prefix in the name
	BySite     Form = "site"     // by calling the site that stands for the mirror
	ByFallback Form = "fallback" // with a name that nobody else claims
)

// Resolved is a request with its canonical names, and what they mean.
type Resolved struct {
	wire.Request
	// Mirror is the mirror that Repo belongs to. Empty: this registry keeps it, or the
	// request has no name.
	Mirror string
	// Form is how the client named Mirror. Empty without one.
	Form Form
}

// Resolve gives the request its canonical names, and decides which mirror they belong to.
// With an error, Mirror and Form are empty.
//
// Errors: ErrNameUnknown when `ns` names a registry that is neither this one nor a
// mirror, and for a read of a name that nobody claims; ErrDenied for a push to such a
// name, with the names that can be pushed to; ErrNameInvalid for a name that is too
// long with its mirror's prefix.
//
// A `from` that nobody claims is not an error: the mount finds nothing, and becomes
// an ordinary upload.
func Resolve(request wire.Request, site Site) (Resolved, error) {
	resolved, mirror := Resolved{Request: request}, ""
	if request.NS != "" && !site.ourselves(request.NS) {
		if mirror = site.namedBy(request.NS); !slices.Contains(site.Mirrors, mirror) {
			return resolved, fmt.Errorf("%w: this registry does not serve ns=%s; ask that registry itself",
				core.ErrNameUnknown, core.Clip(request.NS))
		}
	}
	if request.Name == "" {
		return resolved, nil
	}
	if from, _, _, ok := site.canonical(request.From, mirror); ok && request.From != "" {
		resolved.From = from
	}
	repo, owner, form, ok := site.canonical(request.Name, mirror)
	if ok {
		resolved.Repo = repo
		if len(repo) > len(request.Name) {
			if _, err := core.ParseName(repo); err != nil {
				return resolved, err
			}
		}
		resolved.Mirror, resolved.Form = owner, form
		return resolved, nil
	}
	if request.Kind.Writes() {
		return resolved, fmt.Errorf("%w: %s is not a name of this registry, which keeps %s",
			core.ErrDenied, request.Name, site.Private)
	}
	return resolved, fmt.Errorf("%w: %s", core.ErrNameUnknown, request.Name)
}

// Foreign returns the registry that a request seems to mean, if it is none that this one
// has: the host that ns names, or a first component that looks like one. Else empty.
func (s *Site) Foreign(request wire.Request) string {
	if request.NS != "" && !s.ourselves(request.NS) {
		if host := s.namedBy(request.NS); !slices.Contains(s.Mirrors, host) {
			return host
		}
		return ""
	}
	first, _, more := strings.Cut(request.Name, "/")
	if !more || !strings.Contains(first, ".") || s.Named(request.Name) != "" {
		return ""
	}
	return first
}

// maxListed bounds how many mirrors an answer names.
const maxListed = 8

// NoMirror is a sentence for a client that means a registry which is not mirrored, where
// visible are the mirrors that it may hear of. It is bounded. Empty: there are none.
func NoMirror(host string, visible []string) string {
	if len(visible) == 0 {
		return ""
	}
	shown := make([]string, 0, maxListed)
	for _, mirror := range visible[:min(len(visible), maxListed)] {
		shown = append(shown, core.Clip(mirror))
	}
	text := fmt.Sprintf("no mirror of %s; configured: %s", core.Clip(host), strings.Join(shown, ", "))
	if more := len(visible) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if meant := nearby.Of(host, visible...); meant != "" {
		text += fmt.Sprintf("; did you mean %s?", core.Clip(meant))
	}
	return text
}
