package core

import (
	"context"
	"fmt"
	"net/netip"
)

// Access is what the guard decided that only a deeper layer can apply. It travels
// in the context; absent means none of it, and an anonymous caller.
type Access struct {
	// Fetch lets a mirror download what it does not hold.
	Fetch bool
	// Private shows what a mirror's upstream hides from anonymous callers.
	Private bool
	// Known is a caller with an identity: who may not, need not be told to log in.
	Known bool
	// Create is a caller who may create in this repository. Only for such a caller does
	// "you have it" restart a grace: others cause nothing to be remembered.
	Create bool
	// Caller is the name of the user who asks, the same on every request. Empty:
	// anonymous, or nobody said.
	Caller string
	// Address is where the request came from, as an IP address without a port. Empty:
	// nobody said.
	Address string
}

// Principal is who answers for what the caller uses up: the user, or for anonymous
// callers the address. Of an IPv6 address it is the /64, all of which one machine has.
// A user and an address never equal each other.
func (a Access) Principal() string {
	if a.Caller != "" {
		return "user " + a.Caller
	}
	address, err := netip.ParseAddr(a.Address)
	if err != nil {
		return "address " + a.Address
	}
	if address = address.Unmap().WithZone(""); address.Is6() {
		prefix, _ := address.Prefix(64)
		return "address " + prefix.String()
	}
	return "address " + address.String()
}

// Hidden is the answer to a caller without Private for what the upstream hides: that
// for a repository that may not be read. Errors: ErrUnauthorized, ErrNameUnknown.
func (a Access) Hidden(repo string) error {
	if !a.Known {
		return fmt.Errorf("%w: anonymous callers may not read in %s", ErrUnauthorized, repo)
	}
	return fmt.Errorf("%w: %s", ErrNameUnknown, repo)
}

// Unfetched is the answer to a caller without Fetch for what the mirror does not
// hold. Errors: ErrUnauthorized, ErrDenied.
func (a Access) Unfetched(noun string) error {
	if !a.Known {
		return fmt.Errorf("%w: %s is not held here, and anonymous callers may not let the mirror fetch it", ErrUnauthorized, noun)
	}
	return fmt.Errorf("%w: %s is not held here, and you may not let the mirror fetch it", ErrDenied, noun)
}

// permitted is a context with an Access in it. As one value it takes one allocation, on the
// path of every request.
type permitted struct {
	context.Context
	access Access
}

type accessKey struct{}

func (c *permitted) Value(key any) any {
	if key == (accessKey{}) {
		return &c.access
	}
	return c.Context.Value(key)
}

// WithAccess returns a context that carries a.
func WithAccess(ctx context.Context, a Access) context.Context {
	return &permitted{ctx, a}
}

// AccessFrom returns what WithAccess put into ctx, or no access at all.
func AccessFrom(ctx context.Context) Access {
	if a, _ := ctx.Value(accessKey{}).(*Access); a != nil {
		return *a
	}
	return Access{}
}

type revealKey struct{}

// WithReveal returns a context for lists that go over many repositories: private tells
// of each what Access.Private would be.
func WithReveal(ctx context.Context, private func(repo string) bool) context.Context {
	return context.WithValue(ctx, revealKey{}, private)
}

// Reveals tells whether the caller may see repo in a list although its upstream hides
// it from anonymous callers.
func Reveals(ctx context.Context, repo string) bool {
	private, ok := ctx.Value(revealKey{}).(func(string) bool)
	return ok && private(repo) || AccessFrom(ctx).Private
}
