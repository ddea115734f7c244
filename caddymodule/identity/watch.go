package identity

import "context"

// Change is what happened to a key.
type Change int

// What can happen to a key.
const (
	Made Change = iota + 1
	Revoked
)

// Watch sets who is told of each key that was made or revoked, and by whom, once that
// is durable. nil: nobody, which is the default.
func (k *Keys) Watch(tell func(what Change, key Key, by string)) {
	if tell == nil {
		k.watch.Store(nil)
		return
	}
	k.watch.Store(&tell)
}

func (k *Keys) tell(what Change, key Key, by string) {
	if tell := k.watch.Load(); tell != nil {
		(*tell)(what, key, by)
	}
}

type actorKey struct{}

// As says in a context who acts, for whoever watches.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// actor is who acts, or empty.
func actor(ctx context.Context) string {
	who, _ := ctx.Value(actorKey{}).(string)
	return who
}

// UserChange is what happened to the record of a user. Before is the zero value if there
// was none.
type UserChange struct {
	Of            *Users
	Before, After User
	By            string // who acted, as As said; empty: the sign-in provider
}

// Watch sets what is called after each change of a user's record, once that is durable.
// nil: nothing, which is the default.
func (u *Users) Watch(changed func(UserChange)) {
	if changed == nil {
		u.watch.Store(nil)
		return
	}
	u.watch.Store(&changed)
}
