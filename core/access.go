package core

import "context"

// Access is what the guard decided that only a deeper layer can apply. It travels
// in the context; absent means neither.
type Access struct {
	// Fetch lets a mirror download what it does not hold.
	Fetch bool
	// Private shows what a mirror's upstream hides from anonymous callers.
	Private bool
}

type accessKey struct{}

// WithAccess returns a context that carries a.
func WithAccess(ctx context.Context, a Access) context.Context {
	return context.WithValue(ctx, accessKey{}, a)
}

// AccessFrom returns what WithAccess put into ctx, or no access at all.
func AccessFrom(ctx context.Context) Access {
	a, _ := ctx.Value(accessKey{}).(Access)
	return a
}
