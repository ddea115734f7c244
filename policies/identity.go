package policies

import (
	"slices"

	"github.com/eblume/caddy-registry/core/globs"
)

// Identity is the verified identity of a caller. The zero value is the anonymous
// caller, which is an identity like others.
type Identity struct {
	// User is the verified name; empty for the anonymous caller.
	User string
	// Groups are the user's current groups, as the authority that vouches for the user
	// names them. They must not be changed.
	Groups []string
	// Credential names the caller's credential, for logs and audit: its kind and id, as
	// "key 3f9c2a" or "session". It is never a secret. Empty: anonymous.
	Credential string
	// Key is the API key of the caller, also if it was exchanged for a registry token.
	// The zero value: another kind of credential.
	Key Key
	// Address is where the request came from, for limits per caller; no rule reads it.
	// Empty: unknown.
	Address string
	// Narrow bounds what the credential can be used for. nil: no bound beyond the
	// policy.
	Narrow *Narrowing
}

// KeyIDLength is the number of hexadecimal digits in the ID of an API key.
const KeyIDLength = 12

// Key identifies an API key, for rules whose subject is a key.
type Key struct {
	// ID is unique and never reused: KeyIDLength hexadecimal digits in lower case.
	ID string
	// Label is the name that an administrator gave the key of a service account;
	// several keys may have the same. It is empty for a key that people made for
	// themselves: they could choose the label that a rule names.
	Label string
}

// Narrowing bounds what a credential may be used for. It allows nothing by itself: the
// policy is asked too.
type Narrowing struct {
	// Actions are the actions for which the credential may be used. None: any.
	Actions []Action
	// On are the repositories in which it may be used. None: all.
	On globs.Globs
}

// permits reports whether the credential may be used for this.
func (n *Narrowing) permits(action Action, repo string) bool {
	if n == nil {
		return true
	}
	if action == Reveal {
		action = Read // seeing more of a readable repository is not a separate action
	}
	return (len(n.Actions) == 0 || slices.Contains(n.Actions, action)) && covers(n.On, repo)
}

// Anonymous reports whether the caller is anonymous.
func (i Identity) Anonymous() bool { return i.User == "" }

func (i Identity) String() string {
	if i.Anonymous() {
		return "anonymous"
	}
	return i.User
}
