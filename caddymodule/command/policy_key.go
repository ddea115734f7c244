package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// foundKey is the key that a question is about, with what is known about its owner.
type foundKey struct {
	identity.Key
	owner identity.User
}

// findKey looks the key of a question up in the running process or in the storage. If it cannot
// be found, the question is only about the rules, with a warning.
func (l *location) findKey(ctx context.Context, q *question) {
	report, err := l.order(ctx, control.IdentityOrder{FindKey: q.key})
	switch {
	case err != nil:
		q.warn(fmt.Sprintf("the groups of the key %q are not known, because the keys cannot be read: %v", q.key, err))
		return
	case len(report.Keys) == 0:
		q.warn(fmt.Sprintf("no key has the ID or, of a service account, the label %q", q.key))
		return
	}
	q.found = &foundKey{Key: report.Keys[0]}
	for _, user := range report.Users {
		if user.Name == q.found.User {
			q.found.owner = user
		}
	}
	if n := len(report.Keys); n > 1 {
		q.warn(fmt.Sprintf("%d keys have the label %q, and this answer is about one of them; use its ID instead", n, q.key))
	}
}

// complete adds the owner of the key to who. What the question names itself is kept.
func (f *foundKey) complete(who *policies.Identity) (err error) {
	who.User = cmp.Or(who.User, f.User)
	who.Key = policies.Key{ID: f.ID, Label: f.RuleLabel()}
	switch {
	case f.Service:
		who.Groups = append(who.Groups[:len(who.Groups):len(who.Groups)], f.Groups...)
	case !f.Local:
		who.Groups = append(who.Groups[:len(who.Groups):len(who.Groups)], f.owner.Groups...)
	}
	who.Narrow, err = f.Narrowing()
	return err
}

// addLocal adds the groups of a local user, which only the configuration knows.
func (f *foundKey) addLocal(locals authenticators.LocalUsers, who *policies.Identity) {
	if f == nil || !f.Local {
		return
	}
	for _, local := range locals {
		if local.Name == f.User {
			f.owner.Name, f.owner.Groups = local.Name, local.Groups
			who.Groups = append(who.Groups[:len(who.Groups):len(who.Groups)], local.Groups...)
		}
	}
}

// addLocal adds the groups that the configuration gives to a user of a question that
// names no groups itself.
func (q *question) addLocal(locals authenticators.LocalUsers, who *policies.Identity) {
	if q.found != nil || len(q.groups) > 0 {
		return
	}
	for _, local := range locals {
		if local.Name == q.user {
			who.Groups = local.Groups
		}
	}
}

// refused returns why the key is refused at a time, or an empty string.
func (f *foundKey) refused(at time.Time) string {
	switch {
	case f == nil:
		return ""
	case !f.Active(at):
		return (&identity.KeyRefused{Key: f.Key}).Error()
	case f.owner.Disabled || !f.Service && f.owner.Name == "":
		return (&identity.KeyRefused{Key: f.Key, Disabled: true}).Error()
	}
	return ""
}

// narrowed describes the limits of the key.
func (f *foundKey) narrowed() string {
	text := "it was made for " + cmp.Or(strings.Join(f.Actions, " "), "every action")
	if len(f.Globs) > 0 {
		text += " on " + strings.Join(f.Globs, " ")
	}
	return text + " alone"
}

// String describes the key and the identity that the answer is about.
func (f *foundKey) String() string {
	groups := f.owner.Groups
	if f.Service {
		groups = f.Groups
	}
	text := "in no group"
	if len(groups) > 0 {
		text = "in " + strings.Join(groups, ", ")
	}
	return fmt.Sprintf("key %s (%s) of %s, %s", f.ID, f.Name, f.User, text)
}
