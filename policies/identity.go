package policies

// Identity is who is asking, as far as anybody has verified it. The zero value is
// the anonymous caller: nobody in particular, which is an identity like others.
type Identity struct {
	// User is the verified name; empty for the anonymous caller.
	User string
}

// Anonymous tells whether nothing is known about the caller.
func (i Identity) Anonymous() bool { return i.User == "" }

func (i Identity) String() string {
	if i.Anonymous() {
		return "anonymous"
	}
	return i.User
}
