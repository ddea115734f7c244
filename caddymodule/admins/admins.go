// Package admins knows who administers a registry, and refuses to disable the last of
// them: only an administrator can enable a user again on the pages.
//
// Administering is what the pages let people do who are signed in, and so an administrator
// counts who can sign in and would then be allowed to admin:
//
//   - a local_user of the configuration, with the groups that stand there;
//   - a person of the configured provider, with the groups of the last sign-in or
//     refresh, if that was within 30 days and allowed_groups still admits them.
//
// Neither counts while disabled. Keys, workloads and client certificates never count,
// whatever the policy allows them: nothing that an administrator does takes them. So
// revoking keys and ending sessions can lock nobody out, and is never refused. Where
// nobody can sign in there are no pages, and nobody is locked out of them.
//
// Decisions of the provider and the configuration are not refused either: a group that
// was taken away, a rule that was removed. Then, and when a command disables the last
// administrator, the registry logs a warning. The commands of the registry need no
// administrator, and are the way back in.
//
//	known := admins.Roster{Policy: policy, Locals: locals, Issuer: issuer}
//	user, err := known.Disable(ctx, store.Users(), "erich", "ada")
package admins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// recent is how long the groups that a provider named last are taken for those that it
// would name now: somebody who has not signed in for longer may have left.
const recent = 30 * 24 * time.Hour

var (
	// ErrSelf refuses to disable whoever asks for it.
	ErrSelf = errors.New("you cannot disable yourself; ask another administrator, or run `caddy-registry registry user disable` where the registry runs")
	// ErrLast refuses to disable the only administrator who counts.
	ErrLast = errors.New("this is the last administrator who can sign in; have another one sign in first, or run `caddy-registry registry user disable` where the registry runs")
	// ErrDisabled refuses whoever was disabled while they asked.
	ErrDisabled = errors.New("you have just been disabled yourself")
)

// Warning is what is logged when no administrator is left.
const Warning = "no administrator is known"

// Effect is what that means.
const Effect = "nobody can make keys for service accounts or enable users on the pages"

// Remedy is what to do about it.
const Remedy = "have somebody sign in to whom the policy gives admin, or add a local_user in such a group; the commands `registry key` and `registry user` work without an administrator"

// Roster is what one configuration says about its administrators.
type Roster struct {
	Policy policies.Policy
	// Locals are the local users, with their groups.
	Locals []policies.Identity
	// Issuer is the provider by which people sign in. Empty: there is none.
	Issuer string
	// Allowed are the groups of which the provider's people need one. None: everybody
	// may sign in.
	Allowed []string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Includes reports whether the policy lets somebody administer the registry.
func (r *Roster) Includes(who policies.Identity) bool {
	return r.Policy.Allows(who, policies.Admin, "")
}

// known returns the names of the administrators who count, in order. users are all that
// have a record.
func (r *Roster) known(users []identity.User) []string {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	var names []string
	disabled := map[string]bool{}
	for _, user := range users {
		disabled[user.Name] = user.Disabled
		if !user.Disabled && r.signsIn(user, now()) && r.Includes(policies.Identity{User: user.Name, Groups: user.Groups}) {
			names = append(names, user.Name)
		}
	}
	for _, user := range r.Locals {
		if !disabled[user.User] && r.Includes(user) {
			names = append(names, user.User)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// signsIn reports whether the provider would let a person sign in, as far as is known.
func (r *Roster) signsIn(user identity.User, now time.Time) bool {
	if r.Issuer == "" || user.Subject == "" || user.Issuer != r.Issuer || now.Sub(user.Verified) > recent {
		return false
	}
	return len(r.Allowed) == 0 || slices.ContainsFunc(user.Groups, func(group string) bool { return slices.Contains(r.Allowed, group) })
}

// Check reports whether by may disable a user, by the users as they are now.
// Errors: ErrSelf, ErrLast, ErrDisabled.
func (r *Roster) Check(users []identity.User, by, name string) error {
	if slices.ContainsFunc(users, func(user identity.User) bool { return user.Name == by && user.Disabled }) {
		return ErrDisabled
	}
	if by == name {
		return ErrSelf
	}
	if r.Last(users, name) {
		return fmt.Errorf("%s: %w", name, ErrLast)
	}
	return nil
}

// Last reports whether somebody is the only administrator who counts.
func (r *Roster) Last(users []identity.User, name string) bool {
	known := r.known(users)
	return len(known) == 1 && known[0] == name
}

// Disable disables a user for an administrator, and returns when that is durable. Two
// administrators who disable each other at the same moment are decided one after the
// other. Errors: ErrSelf, ErrLast, ErrDisabled, identity.ErrUserInvalid.
func (r *Roster) Disable(ctx context.Context, users *identity.Users, by, name string) (identity.User, error) {
	return users.DisableIf(identity.As(ctx, by), name, func(all []identity.User) error {
		return r.Check(all, by, name)
	})
}

// TookLast reports whether a change of a user's record took away the last administrator
// who counted.
func (r *Roster) TookLast(change identity.UserChange) bool {
	before, after := []identity.User{change.Before}, []identity.User{change.After}
	return len(r.known(before)) > len(r.known(after)) && len(r.known(change.Of.List())) == 0
}

// Missing reports whether a registry should have an administrator and has none: rules
// give admin to somebody, people have signed in or are local users, and none of them
// counts. A new registry whose first administrator has not signed in yet is not
// missing one, and neither is one whose policy leaves administering to the commands.
func (r *Roster) Missing(rules []policies.Rule, users []identity.User) bool {
	if r.Issuer == "" && len(r.Locals) == 0 || len(r.known(users)) > 0 {
		return false
	}
	signedIn := len(r.Locals) > 0 || slices.ContainsFunc(users, func(user identity.User) bool { return user.Subject != "" })
	return signedIn && slices.ContainsFunc(rules, func(rule policies.Rule) bool {
		_, aboutKey := rule.Who.NamesKey()
		everywhere := len(rule.On) == 0 || slices.Contains(rule.On, "**")
		return !rule.Deny && !aboutKey && everywhere && slices.Contains(rule.Actions, policies.Admin)
	})
}
