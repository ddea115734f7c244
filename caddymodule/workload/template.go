package workload

import (
	"fmt"
	"strings"
	"unicode"
)

// template is a name with claims in it: {claims.NAME} is replaced by a claim that is a string.
type template []part

// part is a text, or else the name of a claim.
type part struct{ text, claim string }

const placeholder = "claims."

func parseTemplate(s string) (template, error) {
	var t template
	for rest := s; rest != ""; {
		text, after, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return nil, fmt.Errorf("%q has a } without a {", s)
		}
		if text != "" {
			t = append(t, part{text: text})
		}
		if !found {
			break
		}
		inner, after, found := strings.Cut(after, "}")
		name, known := strings.CutPrefix(inner, placeholder)
		if !found || !known || name == "" || strings.Contains(name, "{") {
			return nil, fmt.Errorf("%q: a placeholder is {claims.NAME}", s)
		}
		t = append(t, part{claim: name})
		rest = after
	}
	return t, nil
}

// named reports whether the name has text of its own, so that it does not consist only of a
// claim.
func (t template) named() bool {
	for _, part := range t {
		if part.text != "" {
			return true
		}
	}
	return false
}

// fill puts the claims in. A claim that is missing, is not a text or is empty is
// refused, and so is one with a character by which names are set apart from each other.
func (t template) fill(claims Claims) (string, error) {
	var name strings.Builder
	for _, part := range t {
		name.WriteString(part.text)
		if part.claim == "" {
			continue
		}
		value, ok := claims[part.claim].(string)
		if !ok || value == "" {
			return "", fmt.Errorf("%w: its claim %s is missing, or is not a string", ErrToken, part.claim)
		}
		if strings.ContainsFunc(value, separates) {
			return "", fmt.Errorf("%w: its claim %s has a comma, a space or an invisible character, and cannot be in a name", ErrToken, part.claim)
		}
		name.WriteString(value)
	}
	return name.String(), nil
}

func separates(r rune) bool {
	return r == ',' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsGraphic(r)
}
