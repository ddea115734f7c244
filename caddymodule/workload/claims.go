package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/bmatcuk/doublestar/v4"
)

// Claims are the claims of a token. Numbers are int64 where they are whole, else float64.
type Claims map[string]any

// maxDepth bounds the nesting of claims, because conditions walk them.
const maxDepth = 16

// readClaims reads the payload of a token.
func readClaims(payload []byte) (Claims, error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return nil, fmt.Errorf("%w: its claims are not a JSON object", ErrToken)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows its claims", ErrToken)
	}
	for name, value := range claims {
		var err error
		if claims[name], err = plain(value, maxDepth); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// plain converts numbers to types that conditions can use.
func plain(value any, depth int) (any, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: its claims are nested more than %d levels deep", ErrToken, maxDepth)
	}
	var err error
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole, nil
		}
		float, err := value.Float64()
		if err != nil {
			return nil, fmt.Errorf("%w: it has an invalid number", ErrToken)
		}
		return float, nil
	case []any:
		for i := range value {
			if value[i], err = plain(value[i], depth-1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = plain(value[name], depth-1); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// Claim is a condition on one claim.
type Claim struct {
	// Name is the claim's, at the top level of the token: a name with dots is one name.
	Name string `json:"name"`
	// Globs are patterns of which one must match: * stands for anything but a slash, ** between
	// slashes for anything.
	Globs []string `json:"globs"`
}

func (c Claim) check() error {
	if c.Name == "" || len(c.Globs) == 0 {
		return errors.New("claim: write a name and a pattern, such as claim repository blumeops/*")
	}
	for _, glob := range c.Globs {
		if glob == "" || !doublestar.ValidatePattern(glob) {
			return fmt.Errorf("claim %s: %q is not a pattern; write it like blumeops/*, or refs/heads/main", c.Name, glob)
		}
	}
	return nil
}

// matches reports whether the claim exists and one of the patterns matches it: a text as
// it is, true or false, a number in decimal, and of a list at least one such element.
// Objects, null and missing claims never match.
func (c Claim) matches(value any) bool {
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, c.matchesOne)
	}
	return c.matchesOne(value)
}

func (c Claim) matchesOne(value any) bool {
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case bool:
		text = strconv.FormatBool(value)
	case int64:
		text = strconv.FormatInt(value, 10)
	case float64:
		text = strconv.FormatFloat(value, 'f', -1, 64)
	default:
		return false
	}
	return slices.ContainsFunc(c.Globs, func(glob string) bool { return doublestar.MatchUnvalidated(glob, text) })
}

// audiences are those of the token: aud is a text, or a list of them.
func (c Claims) audiences() []string {
	switch aud := c["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		var all []string
		for _, one := range aud {
			if text, ok := one.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}
