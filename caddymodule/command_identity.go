package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/admins"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/policies"
)

// findKey returns the keys that rules know as named, those that are valid first, with
// the records of their owners that there are.
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

// carryOutOrder does what an order says. roster is nil where no configuration says who the
// administrators are.
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
			report.Users[i].Refresh = nil // it is sealed, and nobody's to see nevertheless
		}
	case o.SetUser != "":
		var user identity.User
		ctx = identity.As(ctx, control.ByCommand)
		if o.Disable {
			// Before, or the warning could be about what others did meanwhile.
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
		err = errors.New("an order that this version does not know")
	}
	return report, err
}

// serveIdentity carries an order out in the process that has the storage open.
func (s *shared) serveIdentity(w http.ResponseWriter, r *http.Request) {
	var order control.IdentityOrder
	report, err := control.IdentityReport{}, json.NewDecoder(r.Body).Decode(&order)
	if err == nil {
		if _, err = s.acquire(r.Context()); err == nil {
			report, err = carryOutOrder(r.Context(), order, s.callers.store, s.roster())
			s.release()
		}
	}
	report.Instance = instance.ID
	control.Answer(w, report, err)
}

// order carries an order out in the running process, or on the storage itself.
func (l *location) order(ctx context.Context, order control.IdentityOrder) (report control.IdentityReport, err error) {
	if ctx == nil { // cobra has none unless it was given one
		ctx = context.Background()
	}
	registry, err := l.find()
	if err != nil {
		return report, err
	}
	err = whileStarting(ctx, func() error {
		err := control.Ask(ctx, registry.local, "/identity", order, &report)
		if errors.Is(err, control.ErrNobodyListens) {
			report, err = registry.order(ctx, order)
		}
		return err
	})
	return report, err
}

func (r *registry) order(ctx context.Context, order control.IdentityOrder) (report control.IdentityReport, err error) {
	opened, err := r.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	bucket, err := opened.Bucket(storage.IdentityTree)
	if err != nil {
		return report, err
	}
	store, err := identity.Open(ctx, bucket, identity.Options{})
	if err != nil {
		return report, fmt.Errorf("identity: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	store.Keys().SetMaxLifetime(r.lifetime)
	store.Keys().SetMaxKeys(r.keys)
	// No server runs, so there is no audit log: what was done is what the command prints.
	return carryOutOrder(ctx, order, store, r.admins)
}

// lastAdmin is the warning about disabling a user without whom no administrator counts;
// empty: another one does, or nobody knows.
func lastAdmin(roster *admins.Roster, users []identity.User, name string) string {
	if roster == nil || !roster.Last(users, name) {
		return ""
	}
	return fmt.Sprintf("%s is the last administrator who can sign in; without one %s: %s", name, admins.Effect, admins.Remedy)
}
