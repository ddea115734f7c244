package running

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/caddymodule/typos"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/policies"
)

// findKey returns the keys that rules match by named, valid ones first, with the existing
// records of their owners.
func findKey(store *identity.Store, named string) (keys []identity.Key, owners []identity.User) {
	wanted := policies.NamedKey(named)
	for _, key := range store.Keys().List("") {
		if key.ID == wanted.ID || wanted.Label != "" && key.RuleLabel() == wanted.Label {
			keys = append(keys, key)
		}
	}
	now := time.Now()
	slices.SortStableFunc(keys, func(a, b identity.Key) int {
		switch active := a.Active(now); {
		case active == b.Active(now):
			return 0
		case active:
			return -1
		}
		return 1
	})
	for _, key := range keys {
		if user, ok := store.Users().Get(key.User); ok {
			user.Refresh = nil
			owners = append(owners, user)
		}
	}
	return keys, owners
}

// carryOutOrder executes an order. roster is nil if no configuration names the administrators.
func carryOutOrder(ctx context.Context, o control.IdentityOrder, store *identity.Store, roster *admins.Roster) (report control.IdentityReport, err error) {
	if typed := misspelt(o, store, roster); len(typed) > 0 {
		defer func() { report.Misspelt = typed }()
	}
	switch {
	case o.CreateKey != nil:
		o.CreateKey.By = control.ByCommand
		var key identity.Key
		report.Secret, key, err = store.Keys().Create(ctx, *o.CreateKey)
		report.Keys = []identity.Key{key}
	case o.ListKeys != nil:
		report.Keys = store.Keys().List(*o.ListKeys)
	case o.FindKey != "":
		report.Keys, report.Users = findKey(store, o.FindKey)
	case o.RevokeKey != "":
		var key identity.Key
		key, err = store.Keys().Revoke(identity.As(ctx, control.ByCommand), o.RevokeKey)
		report.Keys = []identity.Key{key}
	case o.ListUsers:
		report.Users = store.Users().List()
		for i := range report.Users {
			report.Users[i].Refresh = nil // sealed, but not for output
		}
	case o.SetUser != "":
		var user identity.User
		ctx = identity.As(ctx, control.ByCommand)
		if o.Disable {
			// Before the change; otherwise the warning could be about concurrent changes.
			user, err = store.Users().DisableIf(ctx, o.SetUser, func(all []identity.User) error {
				report.Warning = lastAdmin(roster, all, o.SetUser)
				return nil
			})
		} else {
			user, err = store.Users().SetDisabled(ctx, o.SetUser, false)
		}
		user.Refresh = nil
		report.Users = []identity.User{user}
	case o.PreviewDisable != "":
		report.Keys = store.Keys().Active(o.PreviewDisable)
		report.Warning = lastAdmin(roster, store.Users().List(), o.PreviewDisable)
	default:
		err = errors.New("unknown order; the command and the registry have different versions")
	}
	return report, err
}

// CarryOut executes an order on the buckets of a storage that no process serves. roster is nil
// if no configuration names the administrators.
func CarryOut(ctx context.Context, opened storage.Buckets, limits KeyLimits, roster *admins.Roster, order control.IdentityOrder) (report control.IdentityReport, err error) {
	bucket, err := opened.Bucket(storage.IdentityTree)
	if err != nil {
		return report, err
	}
	err = withIdentity(ctx, bucket, limits, func(store *identity.Store) (err error) {
		// There is no audit log: the command prints what was done.
		report, err = carryOutOrder(ctx, order, store, roster)
		return err
	})
	return report, err
}

// withIdentity opens keys and users for a command.
func withIdentity(ctx context.Context, b bucket.Bucket, limits KeyLimits, use func(*identity.Store) error) (err error) {
	store, err := identity.Open(ctx, b, identity.Config{})
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	limits.apply(store.Keys())
	return use(store)
}

// serveIdentity executes an order in the process that has the storage open.
func (s *Storage) serveIdentity(w http.ResponseWriter, r *http.Request) {
	var order control.IdentityOrder
	report, err := control.IdentityReport{}, json.NewDecoder(r.Body).Decode(&order)
	if err == nil {
		if _, err = s.Acquire(r.Context()); err == nil {
			report, err = carryOutOrder(r.Context(), order, s.callers.Identity, s.roster())
			s.Release()
		}
	}
	report.Instance = instance.ID
	control.Answer(w, report, err)
}

// lastAdmin returns the warning about disabling the last administrator; it is empty if there is
// another one, or if that is unknown.
func lastAdmin(roster *admins.Roster, users []identity.User, name string) string {
	if roster == nil || !roster.Last(users, name) {
		return ""
	}
	return fmt.Sprintf("%s is the last administrator who can sign in; without one %s: %s", name, admins.Effect, admins.Remedy)
}

// misspelt returns a sentence for each name in the order that is most likely misspelt: a group
// that no rule names, or an unknown user. roster is nil if no configuration was read: then the
// rules are unknown, and groups are not checked.
func misspelt(o control.IdentityOrder, store *identity.Store, roster *admins.Roster) []string {
	switch {
	case o.CreateKey != nil && roster != nil:
		if rules, ok := roster.Policy.(*policies.Rules); ok {
			return typos.Groups(o.CreateKey.Groups, typos.Ruled(rules.Rules()))
		}
	case o.SetUser != "":
		known, _ := typos.Known(store)
		if roster != nil {
			for _, local := range roster.Locals {
				known = append(known, local.User)
			}
		}
		if warning := typos.User(o.SetUser, known); warning != "" {
			return []string{warning}
		}
	}
	return nil
}
