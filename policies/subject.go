package policies

import (
	"fmt"
	"slices"
	"strings"
)

// Subject is the caller or callers that a rule or an option concerns. The zero value
// is anonymous.
type Subject struct {
	kind subjectKind
	// name is the name of a user or group, or the ID or label of a key: see keyID.
	name string
}

// keyID reports whether the name of a key is an ID, in either case of its letters: 12
// hexadecimal digits, which is what IDs look like and what no rule takes for a label.
// Otherwise people could label their own key with an ID, which is not a secret, and
// get the rights of that key.
func keyID(name string) bool {
	if len(name) != KeyIDLength {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

// NamedKey returns the key that a rule with this name concerns: by its ID if the name
// looks like one, else by its label.
func NamedKey(name string) Key {
	if keyID(name) {
		return Key{ID: strings.ToLower(name)}
	}
	return Key{Label: name}
}

// NamesKey returns the key that the subject names, and whether it names one.
func (s Subject) NamesKey() (Key, bool) {
	if s.kind != key {
		return Key{}, false
	}
	return NamedKey(s.name), true
}

// NamesUser returns the user that the subject names, and whether it names one.
func (s Subject) NamesUser() (string, bool) { return s.name, s.kind == user }

// NamesGroup returns the group that the subject names, and whether it names one.
func (s Subject) NamesGroup() (string, bool) { return s.name, s.kind == group }

type subjectKind uint8

const (
	anyone subjectKind = iota
	signedIn
	user
	group
	key
)

var subjectWords = [...]string{"anonymous", "signed_in", "user", "group", "key"}

// ParseSubject reads a subject from the front of words, and returns the rest. Its
// errors are sentences for an operator. Syntax:
//
//	anonymous | signed_in | user <name> | group <name> | key <id or label>
//
// The label of a key counts only for the keys of service accounts: see Key.Label.
func ParseSubject(words []string) (Subject, []string, error) {
	if len(words) == 0 {
		return Subject{}, nil, fmt.Errorf("who? write one of: anonymous, signed_in, user <name>, group <name>, key <id or label>")
	}
	kind := slices.Index(subjectWords[:], words[0])
	switch {
	case kind < 0:
		return Subject{}, nil, fmt.Errorf("unknown subject %q; there are anonymous, signed_in, user <name>, group <name> and key <id or label>", words[0])
	case subjectKind(kind) <= signedIn:
		return Subject{kind: subjectKind(kind)}, words[1:], nil
	case len(words) < 2 || words[1] == "":
		return Subject{}, nil, fmt.Errorf("which %s? write: %[1]s <name>", words[0])
	}
	return Subject{subjectKind(kind), words[1]}, words[2:], nil
}

func (s Subject) String() string {
	return strings.TrimSuffix(subjectWords[s.kind]+" "+s.name, " ")
}

// includes reports whether a permission for the subject is one for who. Anonymous
// includes everybody, so that callers do not lose a right by authenticating.
func (s Subject) includes(who *Identity) bool {
	switch s.kind {
	case anyone:
		return true
	case signedIn:
		return !who.Anonymous()
	case user:
		return who.User == s.name
	case group:
		return !who.Anonymous() && slices.Contains(who.Groups, s.name)
	default:
		if keyID(s.name) {
			return strings.EqualFold(who.Key.ID, s.name)
		}
		return who.Key.Label == s.name
	}
}

// excludes reports whether a refusal for the subject is one for who. Here anonymous
// means only callers without an identity.
func (s Subject) excludes(who *Identity) bool {
	if s.kind == anyone {
		return who.Anonymous()
	}
	return s.includes(who)
}
