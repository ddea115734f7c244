// Package globs has the patterns by which a configuration names repositories: for what
// is private, for whom a rule is about. It matches names and compares patterns, and
// knows nothing else of a registry.
//
//	team, err := globs.Parse("team/**", "tools/*")
//	team.Match("team/app") // true
package globs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Globs are patterns for repository names: * is one component or a part of it, **
// any number of components. "team/**" is also "team" itself.
type Globs []string

// errGlob is a pattern that cannot be read.
var errGlob = errors.New("is not a pattern for repository names")

// Parse checks the patterns. Its errors are sentences for an operator.
func Parse(patterns ...string) (Globs, error) {
	for _, p := range patterns {
		if odd(p) || p == "" || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || !doublestar.ValidatePattern(p) {
			return nil, fmt.Errorf("%q %w: write it like team/app, team/* or team/**", p, errGlob)
		}
	}
	return Globs(patterns), nil
}

// odd tells whether a pattern has what doublestar reads but no name needs: an escape
// (no name has a character to escape), a slash within [], and **/**, which is not
// what it looks like.
func odd(pattern string) bool {
	class := false
	for i := range len(pattern) {
		switch c := pattern[i]; {
		case c == '\\', class && c == '/':
			return true
		case c == '[':
			class = true
		case c == ']':
			class = false
		}
	}
	return strings.Contains(pattern, "**/**")
}

// Match tells whether one of the patterns matches the name.
func (g Globs) Match(name string) bool {
	for _, p := range g {
		if p == "**" || doublestar.MatchUnvalidated(p, name) {
			return true
		}
		// To doublestar a/** is also a, but a*/** is not: a rule that denies would miss it.
		if root, ok := strings.CutSuffix(p, "/**"); ok && doublestar.MatchUnvalidated(root, name) {
			return true
		}
	}
	return false
}

func (g Globs) String() string { return strings.Join(g, ", ") }
