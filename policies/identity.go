package policies

import (
	"slices"

	"github.com/eblume/caddy-registry/core/globs"
)

// Identity is who is asking, as far as anybody has verified it. The zero value is
// the anonymous caller: nobody in particular, which is an identity like others.
type Identity struct {
	// User is the verified name; empty for the anonymous caller.
	User string
	// Groups are those that the user is in now, as whoever vouches for the user
	// says. They are nobody's to change.
	Groups []string
	// Credential says by what the caller is known, for logs and audit: its kind and
	// id, as "key 3f9c2a" or "session". It is never a secret. Empty: anonymous.
	Credential string
	// Key is the API key by which the caller is known, also where a registry token
	// was made of it. The zero value: by something else.
	Key Key
	// Address is where the request came from, for what each may use up; no rule reads
	// it. Empty: nobody said.
	Address string
	// Narrow bounds what the credential can be used for. nil: to nothing less than
	// what the policy allows the user.
	Narrow *Narrowing
}

// KeyIDLength is how many hexadecimal digits the ID of every API key has.
const KeyIDLength = 12

// Key says which API key it is, for rules whose subject is a key.
type Key struct {
	// ID is unique and never given again: KeyIDLength hexadecimal digits in lower case.
	ID string
	// Label is what an administrator called the key of a service account; several keys
	// may have the same. It is empty for a key that a person made for themself: anybody
	// could choose the label that a rule names.
	Label string
}

// Narrowing is what a credential may be used for at most. It allows nothing by
// itself: the policy is asked too.
type Narrowing struct {
	// Actions are those that the credential may be used for. None: any.
	Actions []Action
	// On are the repositories that it may be used in. None: all.
	On globs.Globs
}

// permits tells whether the credential may be used for this.
func (n *Narrowing) permits(action Action, repo string) bool {
	if n == nil {
		return true
	}
	if action == Reveal {
		action = Read // seeing more of what may be read is not an action of its own
	}
	return (len(n.Actions) == 0 || slices.Contains(n.Actions, action)) && covers(n.On, repo)
}

// Anonymous tells whether nothing is known about the caller.
func (i Identity) Anonymous() bool { return i.User == "" }

func (i Identity) String() string {
	if i.Anonymous() {
		return "anonymous"
	}
	return i.User
}
