package graph

import (
	"bytes"
	"iter"
	"strconv"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Named yields the digests that a manifest names: the values of members "digest" of objects at any
// depth, in whatever letter case, in their order and with repetitions. So it finds everything that
// a client of any kind of artifact, known here or not, may fetch with the manifest.
//
// It does not read texts, annotations, or data that is embedded as a text. It needs memory only
// for the digests, and reads the whole of any document: one that is not JSON yields everything
// that looks like such a member. Documents that a push would refuse name things, too.
func Named(manifest []byte) iter.Seq[digest.Digest] {
	return func(yield func(digest.Digest) bool) {
		s := scanner{data: manifest}
		for s.at < len(s.data) {
			if s.data[s.at] != '"' {
				s.at++
				continue
			}
			name := s.text()
			if s.space(); s.byte() != ':' {
				continue // a value
			}
			s.at++
			s.space()
			switch {
			case string(name) == "annotations":
				s.skip()
			case bytes.EqualFold(name, []byte("digest")) && s.byte() == '"':
				if d, err := core.ParseDigest(string(s.text())); err == nil && !yield(d) {
					return
				}
			}
		}
	}
}

// Names reports whether a manifest names d.
func Names(manifest []byte, d digest.Digest) bool {
	for named := range Named(manifest) {
		if named == d {
			return true
		}
	}
	return false
}

// scanner reads strings out of JSON.
type scanner struct {
	data []byte
	at   int
	buf  []byte
}

// byte returns the byte that stands here, or 0 at the end.
func (s *scanner) byte() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for b := s.byte(); b == ' ' || b == '\t' || b == '\r' || b == '\n'; b = s.byte() {
		s.at++
	}
}

// longest bounds what text decodes: a sha512 digest, written with escapes alone.
const longest = 6 * (len("sha512:") + 128)

// text reads the string that stands here and returns what it says, valid until the next call. It
// is only right for strings that may be names or digests.
func (s *scanner) text() []byte {
	s.at++
	start, escaped := s.at, false
	for ; s.at < len(s.data) && s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at = min(s.at, len(s.data))
	text := s.data[start:s.at]
	s.at++
	if !escaped || len(text) > longest {
		return text
	}
	s.buf = s.buf[:0]
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+5 < len(text) && text[i+1] == 'u' {
			if r, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16); err == nil {
				s.buf = utf8.AppendRune(s.buf, rune(r))
				i += 5
				continue
			}
		}
		s.buf = append(s.buf, text[i])
	}
	return s.buf
}

// skip moves behind the object or list that stands here. Other values need not be skipped, because
// they contain nothing that looks like a member.
func (s *scanner) skip() {
	for depth := 0; s.at < len(s.data); {
		switch s.data[s.at] {
		case '"':
			s.text()
		case '{', '[':
			depth++
			s.at++
		case '}', ']':
			depth--
			s.at++
		default:
			if depth == 0 {
				return
			}
			s.at++
		}
		if depth <= 0 {
			return
		}
	}
}
