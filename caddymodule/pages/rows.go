package pages

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

const (
	// pageRows bounds the rows of a page.
	pageRows = 50
	// maxScan bounds the rows that a filter passes over for one page. Composing one takes some
	// 20 µs.
	maxScan = 20_000
)

// places hides where a list goes on behind a row that the visitor may not see; a
// *session.Store implements it.
type places interface {
	Seal(purpose string, plain []byte) []byte
	Unseal(purpose string, sealed []byte) ([]byte, error)
}

const (
	placePurpose = "pages"
	plainMark    = "."
	sealedMark   = "~"
	// placeSize is the size of every place before it is sealed: two bytes for its length, and
	// more than the longest At, a digest of 64 bytes with a name. It is fixed, so that a sealed
	// place does not reveal the length of a name.
	placeSize = 2 + 400
)

// errPlace is an `after` that this registry has not written.
var errPlace = errors.New("after is not a place in a list of this registry")

// seal writes the place behind a row that the visitor may not see.
func (s *Site) seal(at string) (string, error) {
	if s.Cursors == nil || len(at) > placeSize-2 {
		return "", fmt.Errorf("the list goes on behind a row that cannot be hidden")
	}
	plain := make([]byte, placeSize)
	plain[0], plain[1] = byte(len(at)>>8), byte(len(at))
	copy(plain[2:], at)
	return sealedMark + base64.RawURLEncoding.EncodeToString(s.Cursors.Seal(placePurpose, plain)), nil
}

// place reads an `after`. Errors: errPlace.
func (s *Site) place(after string) (string, error) {
	if after == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(after[1:])
	if err != nil || len(raw) > 2*placeSize {
		return "", errPlace
	}
	switch {
	case strings.HasPrefix(after, plainMark):
		return string(raw), nil
	case strings.HasPrefix(after, sealedMark) && s.Cursors != nil:
		plain, err := s.Cursors.Unseal(placePurpose, raw)
		if err == nil && len(plain) == placeSize {
			if n := int(plain[0])<<8 | int(plain[1]); n <= placeSize-2 {
				return string(plain[2 : 2+n]), nil
			}
		}
	}
	return "", errPlace
}

// part is a page of a list.
type part[T any] struct {
	Rows []T
	// Passed counts the rows that were read.
	Passed int
	// Next is the `after` of the next page. Empty: this is the last one.
	Next string
	// Short: the page ends early although the list goes on.
	Short bool
}

// read returns at most pageRows rows for which keep returns true, and where the list goes on. It ends
// early when one of enough says so.
func read[T any](s *Site, rows iter.Seq2[T, error], at func(T) string, keep func(T) bool, enough ...func() bool) (part[T], error) {
	var p part[T]
	last := ""
	for row, err := range rows {
		var pause *core.Pause
		if errors.As(err, &pause) {
			p.Short = true
			p.Next, err = s.seal(pause.After)
			return p, err
		}
		if err != nil {
			return p, err
		}
		tired := p.Passed == maxScan || slices.ContainsFunc(enough, func(is func() bool) bool { return is() })
		if len(p.Rows) == pageRows || tired {
			p.Short = tired
			p.Next = plainMark + base64.RawURLEncoding.EncodeToString([]byte(last))
			return p, nil
		}
		p.Passed++
		last = at(row)
		if keep(row) {
			p.Rows = append(p.Rows, row)
		}
	}
	return p, nil
}
