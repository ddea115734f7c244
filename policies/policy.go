package policies

import (
	"fmt"
	"strings"
)

// Action is something that a caller wants to do in a repository.
type Action uint8

// The actions. A policy names them by the words of String.
const (
	// Read is pulling, and seeing names, tags and referrers.
	Read Action = iota
	// Fetch lets a mirror download content that it does not hold.
	Fetch
	// Create is pushing new content, tags that do not exist and referrers, and
	// cancelling one's own upload.
	Create
	// Update is making a tag that exists name another digest.
	Update
	// Delete is removing tags, manifests and blobs.
	Delete
	// Admin is administering the registry itself. It does not apply to a repository.
	Admin
	// Reveal is seeing content that a mirror's upstream hides from anonymous
	// callers. It is not a word of a policy, and * does not include it: a mirror's
	// option grants it, as `private <globs> to <who>`.
	Reveal
)

var actionNames = [...]string{"read", "fetch", "create", "update", "delete", "admin", "reveal"}

// Actions are all actions that * means in a policy.
var Actions = []Action{Read, Fetch, Create, Update, Delete, Admin}

// ParseAction finds an action by its word. Its errors are sentences for an operator.
func ParseAction(word string) (Action, error) {
	for _, a := range Actions {
		if a.String() == word {
			return a, nil
		}
	}
	return 0, fmt.Errorf("unknown action %q; there are %s and *", word, strings.Join(actionNames[:len(Actions)], ", "))
}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Policy answers whether an identity may do something. Implementations are safe
// for concurrent use, do no I/O, and are asked again on every request, so that a
// changed policy takes effect at once.
type Policy interface {
	// Allows decides for one repository by its canonical name, or for the registry
	// itself, whose name is empty: Admin is asked for that. It applies the narrowing of
	// the caller's credential, too.
	Allows(who Identity, action Action, repo string) bool
}
