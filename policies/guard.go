package policies

import (
	"context"
	"fmt"

	"github.com/eblume/caddy-registry/core"
)

// Guard returns a Registry that does only what policy allows who to do with
// registry. It is made for one request: making it costs one allocation.
//
// Methods return registry's errors and, before asking it, the refusals listed in
// the package comment.
func Guard(registry core.Registry, policy Policy, who Identity) core.Registry {
	return &guard{registry: registry, policy: policy, who: who}
}

// May returns nil if policy allows who an action in a repository, and otherwise the refusal of a Guard.
func May(policy Policy, who Identity, action Action, repo string) error {
	if policy.Allows(who, action, repo) {
		return nil
	}
	g := guard{policy: policy, who: who}
	return g.refuse(action, repo)
}

// guard forwards by hand. The registry is deliberately not embedded: a method that
// core.Registry gains later comes from Unimplemented, and is refused.
type guard struct {
	core.Unimplemented
	registry core.Registry
	policy   Policy
	who      Identity
}

var _ core.Registry = (*guard)(nil)

// admit decides about one action in one repository. The returned context carries
// what deeper layers may do for this caller.
func (g *guard) admit(ctx context.Context, action Action, repo string) (context.Context, error) {
	if !g.policy.Allows(g.who, action, repo) {
		return ctx, g.refuse(action, repo)
	}
	return core.WithAccess(ctx, core.Access{
		Fetch:   g.policy.Allows(g.who, Fetch, repo),
		Private: g.policy.Allows(g.who, Reveal, repo),
		Known:   !g.who.Anonymous(),
		Create:  action == Create || g.policy.Allows(g.who, Create, repo),
		Caller:  g.who.User,
		Address: g.who.Address,
	}), nil
}

// refuse words a refusal so that it reveals nothing that the caller may not see.
func (g *guard) refuse(action Action, repo string) error {
	switch {
	case g.who.Anonymous():
		return fmt.Errorf("%w: anonymous callers may not %s in %s", core.ErrUnauthorized, action, repo)
	case !g.policy.Allows(g.who, Read, repo):
		return fmt.Errorf("%w: %s", core.ErrNameUnknown, repo)
	default:
		return fmt.Errorf("%w: %s may not %s in %s", core.ErrDenied, g.who, action, repo)
	}
}
