package identity

import "context"

// Change is a change of a key.
type Change int

// The changes of a key.
const (
	Made Change = iota + 1
	Revoked
)

// Watch sets a function that is called, once it is durable, for each key that was made
// or revoked, with the acting user. nil: none, which is the default.
func (k *Keys) Watch(report func(what Change, key Key, by string)) {
	if report == nil {
		k.watch.Store(nil)
		return
	}
	k.watch.Store(&report)
}

func (k *Keys) report(what Change, key Key, by string) {
	if report := k.watch.Load(); report != nil {
		(*report)(what, key, by)
	}
}

type actorKey struct{}

// As returns a context that names the acting user, for Watch.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// actor returns the acting user, or empty.
func actor(ctx context.Context) string {
	who, _ := ctx.Value(actorKey{}).(string)
	return who
}

// UserChange is a change of the record of a user. Before is the zero value if there was
// none.
type UserChange struct {
	Of            *Users
	Before, After User
	By            string // the acting user, from As; empty: the sign-in provider
}

// Watch sets a function that is called after each change of a user's record, once that
// is durable. nil: none, which is the default.
func (u *Users) Watch(changed func(UserChange)) {
	if changed == nil {
		u.watch.Store(nil)
		return
	}
	u.watch.Store(&changed)
}
