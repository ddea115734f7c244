package token

import (
	"slices"
	"strings"
)

// Scope is an intended access of a client: `repository:team/app:pull,push`.
type Scope struct {
	Type    string
	Name    string
	Actions []string
}

// maxScopes bounds the scopes of one request: a push with mounts names a handful.
const maxScopes = 100

// parseScopes reads `scope` parameters, each one scope or several with spaces between
// them. The name may have colons of its own (a host and port). An invalid scope is
// kept as one without a type, so that it does not look as if nothing was requested.
func parseScopes(parameters []string) []Scope {
	var scopes []Scope
	for _, parameter := range parameters {
		for word := range strings.FieldsSeq(parameter) {
			if len(scopes) == maxScopes {
				// There are too many: none of them can be relied on.
				return append(scopes, Scope{})
			}
			scopes = append(scopes, parseScope(word))
		}
	}
	return scopes
}

func parseScope(word string) Scope {
	kind, rest, ok := strings.Cut(word, ":")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at < 0 {
		return Scope{}
	}
	// repository(plugin) is a repository with a class, which Docker's tools write.
	kind, _, _ = strings.Cut(kind, "(")
	return Scope{Type: kind, Name: rest[:at], Actions: strings.Split(rest[at+1:], ",")}
}

// Push reports whether the scope is to push to one repository.
func (s Scope) Push() bool { return s.Type == "repository" && slices.Contains(s.Actions, "push") }

// Pull reports whether the scope is only to read one repository.
func (s Scope) Pull() bool {
	return s.Type == "repository" && s.Name != "" && len(s.Actions) == 1 && s.Actions[0] == "pull"
}
