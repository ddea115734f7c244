package globs

import (
	"slices"
	"strings"
)

// Overlap tells whether some repository name matches both patterns. It is exact for
// names of the characters that a repository may have, but does not know how they
// may follow each other: a--b counts as a name. It is for checking a configuration,
// not for the path of a request.
//
// Both patterns have passed Parse.
func Overlap(a, b string) bool {
	as, bs := alternatives(a), alternatives(b)
	if as == nil || bs == nil {
		return true // too many to look at: nothing is claimed about them
	}
	for _, x := range as {
		for _, y := range bs {
			if pathsMeet(strings.Split(x, "/"), strings.Split(y, "/")) {
				return true
			}
		}
	}
	return false
}

// Within tells whether every name that the pattern matches lies under one host: as
// docker.io/team/* does under docker.io.
func Within(pattern, host string) bool {
	for _, p := range alternatives(pattern) {
		if p != host && !strings.HasPrefix(p, host+"/") {
			return false
		}
	}
	return true
}

// maxAlternatives bounds what {a,b}{c,d}… may become.
const maxAlternatives = 1 << 10

// alternatives writes a pattern with braces as patterns without, or is nil if there
// would be too many.
func alternatives(pattern string) []string {
	open, end, commas := braces(pattern)
	if open < 0 {
		return []string{pattern}
	}
	var all []string
	from := open + 1
	for _, comma := range append(commas, end) {
		rest := alternatives(pattern[:open] + pattern[from:comma] + pattern[end+1:])
		if rest == nil || len(all)+len(rest) > maxAlternatives {
			return nil
		}
		all = append(all, rest...)
		from = comma + 1
	}
	return all
}

// braces finds the first group of a pattern, and the commas between its members.
func braces(pattern string) (open, end int, commas []int) {
	open = -1
	depth, class := 0, false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '{':
			if depth++; open < 0 {
				open = i
			}
		case c == ',' && depth == 1:
			commas = append(commas, i)
		case c == '}' && depth > 0:
			if depth--; depth == 0 {
				return open, i, commas
			}
		}
	}
	return -1, -1, nil
}

// pathsMeet tells whether one path matches both lists of components.
func pathsMeet(a, b []string) bool {
	// meets[i][j]: what is left behind i and j can be the same.
	meets := make([][]bool, len(a)+1)
	for i := len(a); i >= 0; i-- {
		meets[i] = make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				meets[i][j] = true
			case i < len(a) && a[i] == "**":
				meets[i][j] = meets[i+1][j] || j < len(b) && meets[i][j+1] && possible(b[j])
			case j < len(b) && b[j] == "**":
				meets[i][j] = meets[i][j+1] || i < len(a) && meets[i+1][j] && possible(a[i])
			case i < len(a) && j < len(b):
				meets[i][j] = meets[i+1][j+1] && componentsMeet(atoms(a[i]), atoms(b[j]))
			}
		}
	}
	return meets[0][0]
}

// possible tells whether a name can have a component that matches.
func possible(component string) bool {
	return componentsMeet(atoms(component), atoms("*"))
}

// letters are the characters of a component.
const letters = "abcdefghijklmnopqrstuvwxyz0123456789._-"

// atom matches one character of a set, or, as a star, any number of any.
type atom struct {
	star bool
	set  string
}

// possible tells whether a name can have a character that matches.
func (a atom) possible() bool { return a.star || a.set != "" }

// componentsMeet tells whether one component that is not empty matches both.
func componentsMeet(a, b []atom) bool {
	stars := func(atoms []atom) bool {
		return !slices.ContainsFunc(atoms, func(a atom) bool { return !a.star })
	}
	if stars(a) && stars(b) {
		return len(a) > 0 && len(b) > 0
	}
	meets := make([][]bool, len(a)+1)
	for i := len(a); i >= 0; i-- {
		meets[i] = make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				meets[i][j] = true
			case i < len(a) && a[i].star:
				meets[i][j] = meets[i+1][j] || j < len(b) && meets[i][j+1] && b[j].possible()
			case j < len(b) && b[j].star:
				meets[i][j] = meets[i][j+1] || i < len(a) && meets[i+1][j] && a[i].possible()
			case i < len(a) && j < len(b):
				meets[i][j] = meets[i+1][j+1] && strings.ContainsAny(a[i].set, b[j].set)
			}
		}
	}
	return meets[0][0]
}

// atoms reads a component without braces.
func atoms(component string) []atom {
	var all []atom
	for i := 0; i < len(component); i++ {
		switch c := component[i]; c {
		case '*':
			all = append(all, atom{star: true})
		case '?':
			all = append(all, atom{set: letters})
		case '[':
			set, n := class(component[i+1:])
			all = append(all, atom{set: set})
			i += n
		default:
			all = append(all, atom{set: only(c)})
		}
	}
	return all
}

// only is the character, if a component may have it.
func only(c byte) string {
	if strings.IndexByte(letters, c) < 0 {
		return ""
	}
	return string(c)
}

// class reads what follows a [, and says how long it is with its end.
func class(s string) (set string, n int) {
	i := 0
	not := s[i] == '^' || s[i] == '!'
	if not {
		i++
	}
	var in [256]bool
	for first := true; first || s[i] != ']'; first = false {
		low := s[i]
		high := low
		i++
		if s[i] == '-' && s[i+1] != ']' {
			i++
			high = s[i]
			i++
		}
		for c := int(low); c <= int(high); c++ {
			in[c] = true
		}
	}
	var found strings.Builder
	for _, c := range []byte(letters) {
		if in[c] != not {
			found.WriteByte(c)
		}
	}
	return found.String(), i + 1
}
