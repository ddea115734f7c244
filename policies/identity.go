package policies

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
}

// Anonymous tells whether nothing is known about the caller.
func (i Identity) Anonymous() bool { return i.User == "" }

func (i Identity) String() string {
	if i.Anonymous() {
		return "anonymous"
	}
	return i.User
}
