package core

import (
	"context"
	"fmt"
	"net/netip"
)

// Access holds the guard's decisions that only a deeper layer can apply. It travels in
// the context. Without one the caller is anonymous and has none of these rights.
type Access struct {
	// Fetch lets a mirror download what it does not hold.
	Fetch bool
	// Private shows content that a mirror's upstream hides from anonymous callers.
	Private bool
	// Known says that the caller has an identity and, if refused, need not be told to
	// log in.
	Known bool
	// Create says that the caller may create in this repository. Only for such a
	// caller does "you have it" restart a grace; for others nothing is remembered.
	Create bool
	// Caller is the name of the calling user, the same on every request. Empty:
	// anonymous or unknown.
	Caller string
	// Address is where the request came from, as an IP address without a port. Empty:
	// unknown.
	Address string
}

// Principal is the name to which the caller's use of shared resources is charged: the
// user, or for anonymous callers the address. For IPv6 it is the /64, because one
// machine has all of it. A user and an address never equal each other.
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

// Hidden is the answer to a caller without Private for content that the upstream
// hides, the same as for a repository that may not be read. Errors: ErrUnauthorized,
// ErrNameUnknown.
func (a Access) Hidden(repo string) error {
	if !a.Known {
		return fmt.Errorf("%w: anonymous callers may not read in %s", ErrUnauthorized, repo)
	}
	return fmt.Errorf("%w: %s", ErrNameUnknown, repo)
}

// Unfetched is the answer to a caller without Fetch for content that the mirror does
// not hold. Errors: ErrUnauthorized, ErrDenied.
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

// WithReveal returns a context for lists that go over many repositories: private
// returns the value of Access.Private for each.
func WithReveal(ctx context.Context, private func(repo string) bool) context.Context {
	return context.WithValue(ctx, revealKey{}, private)
}

// Reveals reports whether the caller may see repo in a list although its upstream
// hides it from anonymous callers.
func Reveals(ctx context.Context, repo string) bool {
	private, ok := ctx.Value(revealKey{}).(func(string) bool)
	return ok && private(repo) || AccessFrom(ctx).Private
}
