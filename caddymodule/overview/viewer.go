package overview

import (
	"context"
	"iter"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/events"
	"github.com/eblume/caddy-registry/policies"
)

// Source is what a running registry knows of itself.
type Source interface {
	// Events are those of events.Log.List.
	Events(ctx context.Context, q events.Query, after string) iter.Seq2[events.Event, error]
	// Mirror returns the facts about a mirror. It is false if there is none of that name.
	Mirror(name string) (Facts, bool)
	// Uses are the clients of a mirror.
	Uses(ctx context.Context, mirror string) ([]Use, error)
	// Stored describes the disks and what is on them.
	Stored() Stored
}

// Within is what a Policy can also tell: whether it allows an action in every repository of a mirror.
// Figures of a whole mirror are shown only to those who may read all of it.
type Within interface {
	AllowsWithin(who policies.Identity, action policies.Action, mirror string) bool
}

// Viewer shows a Source to one caller. It is made for a request.
type Viewer struct {
	Source Source
	// Registry is guarded for the caller.
	Registry core.Registry
	Policy   policies.Policy
	Who      policies.Identity
	// Mirrors are the mirrors in which the caller may read something.
	Mirrors []string
	// Owner returns the mirror that has a repository, or empty. It is false for a name that nobody
	// claims.
	Owner func(repo string) (mirror string, ok bool)
	// Credentialed reports whether a mirror's upstream is asked with credentials, so that what it holds
	// may be hidden.
	Credentialed func(mirror string) bool

	seen map[string]bool // answers of sees
}

// Admin reports whether the caller administers the registry.
func (v *Viewer) Admin() bool { return v.Policy.Allows(v.Who, policies.Admin, "") }

// whole reports whether the caller may see sums over everything that a mirror has: who may read all of
// it, what its credentials have opened included. Administrators need not be able to pull that.
func (v *Viewer) whole(mirror string) bool {
	p, ok := v.Policy.(Within)
	return ok && p.AllowsWithin(v.Who, policies.Read, mirror) &&
		(!v.Credentialed(mirror) || v.Admin() || p.AllowsWithin(v.Who, policies.Reveal, mirror))
}

// sees reports whether the caller may know of a repository that is, or was, here.
func (v *Viewer) sees(ctx context.Context, repo string) bool {
	if !v.Policy.Allows(v.Who, policies.Read, repo) {
		return false
	}
	if known, ok := v.seen[repo]; ok {
		return known
	}
	mirror, ok := v.Owner(repo)
	if ok && mirror != "" && !v.Policy.Allows(v.Who, policies.Reveal, repo) {
		_, err := v.Registry.RepositoryRow(ctx, repo) // its upstream may hide it
		ok = err == nil
	}
	if v.seen == nil {
		v.seen = map[string]bool{}
	}
	v.seen[repo] = ok
	return ok
}

// follows reports whether the caller may know of a repository that a mirror is fetching, and may not
// have yet.
func (v *Viewer) follows(ctx context.Context, mirror, repo string) bool {
	return v.Policy.Allows(v.Who, policies.Read, repo) && (!v.Credentialed(mirror) || v.sees(ctx, repo))
}
