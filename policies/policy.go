package policies

import "fmt"

// Action is what a caller wants to do in a repository.
type Action uint8

// The actions. A policy names them by the words of String.
const (
	// Read is pulling, and seeing names, tags and referrers.
	Read Action = iota
	// Fetch lets a mirror download what it does not hold.
	Fetch
	// Create is pushing what is new: content, tags that do not exist, referrers,
	// and cancelling an upload of one's own.
	Create
	// Update is making a tag that exists name another digest.
	Update
	// Delete is removing tags, manifests and blobs.
	Delete
	// Admin is the care of the registry itself.
	Admin
)

var actionNames = [...]string{"read", "fetch", "create", "update", "delete", "admin"}

// Actions are all actions: what * means in a policy.
var Actions = []Action{Read, Fetch, Create, Update, Delete, Admin}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Policy answers whether an identity may do something. Implementations are safe
// for concurrent use, do no I/O, and are asked again on every request, so that a
// changed policy acts at once.
type Policy interface {
	// Allows decides for one repository by its canonical name.
	Allows(who Identity, action Action, repo string) bool
}

// Everybody allows the actions to every identity, also the anonymous one, in every
// repository. Everybody() allows nothing.
func Everybody(actions ...Action) Policy {
	var set everybody
	for _, a := range actions {
		set |= 1 << a
	}
	return set
}

// everybody has a bit for each action allowed.
type everybody uint8

func (set everybody) Allows(_ Identity, action Action, _ string) bool {
	return set&(1<<action) != 0
}
