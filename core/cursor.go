package core

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// cursor walks over JSON that json.Valid has accepted: it checks nothing, cannot fail, and ends
// with the document. It needs memory only for the names in the open objects (16 bytes each, and
// at most maxMembers) and for their depth.
type cursor struct {
	data []byte
	at   int
	text []byte // reused by unquote
	// names are those of the open objects so far; an object's own begin where it did.
	names []nameAt
	// opens has for each object that skip is in where its names begin, or -1 for an array.
	opens []int
	// crowded: there were more names than maxMembers, and not all of them were compared.
	crowded bool
	// repeated is the first name found twice in one object; -1 if there is none.
	repeated int
}

type nameAt struct {
	hash uint64
	at   int
}

// maxMembers bounds the members of the objects that are open at one time. Manifests have ten, and
// annotations a few; a document of MaxManifestSize has room for 500,000.
const maxMembers = 100_000

var nameSeed = maphash.MakeSeed()

func newCursor(data []byte) *cursor { return &cursor{data: data, repeated: -1} }

// next goes to the next token and returns its first byte; 0 at the end.
func (c *cursor) next() byte {
	for ; c.at < len(c.data); c.at++ {
		switch b := c.data[c.at]; b {
		case ' ', '\t', '\r', '\n':
		default:
			return b
		}
	}
	return 0
}

// token returns the string, number or literal that stands here, as it is written.
func (c *cursor) token() []byte {
	c.next()
	start := c.at
	if c.at < len(c.data) && c.data[c.at] == '"' {
		for c.at++; c.at < len(c.data) && c.data[c.at] != '"'; c.at++ {
			if c.data[c.at] == '\\' {
				c.at++
			}
		}
		c.at = min(c.at+1, len(c.data))
		return c.data[start:c.at]
	}
	for ; c.at < len(c.data); c.at++ {
		switch c.data[c.at] {
		case ' ', '\t', '\r', '\n', ',', ':', ']', '}':
			return c.data[start:c.at]
		}
	}
	return c.data[start:]
}

// unquoted returns the text of the string that stands here. It is valid until the next call.
func (c *cursor) unquoted() []byte {
	token := c.token()
	token = token[1 : len(token)-1]
	if bytes.IndexByte(token, '\\') < 0 {
		return token
	}
	c.text = appendUnquoted(c.text[:0], token)
	return c.text
}

// object calls each with every member of the object that stands here. each reads or skips the
// value; name is valid until it does.
func (c *cursor) object(each func(name []byte)) {
	c.at++
	first := len(c.names)
	for c.member() {
		at := c.at
		name := c.unquoted()
		c.named(name, at)
		c.next()
		c.at++ // the colon
		c.next()
		each(name)
	}
	c.close(first)
}

// array calls each with every element of the array that stands here. each reads or skips it.
func (c *cursor) array(each func()) {
	c.at++
	for c.member() {
		each()
	}
}

// member goes to the next member or element, or behind the end of the object or array.
func (c *cursor) member() bool {
	b := c.next()
	if b == ',' {
		c.at++
		b = c.next()
	}
	if b == '}' || b == ']' || b == 0 {
		c.at = min(c.at+1, len(c.data))
		return false
	}
	return true
}

// named notes the name of a member that stands at at.
func (c *cursor) named(name []byte, at int) {
	if len(c.names) == maxMembers {
		c.crowded = true
		return
	}
	c.names = append(c.names, nameAt{maphash.Bytes(nameSeed, name), at})
}

// close ends an object whose names begin at first.
func (c *cursor) close(first int) {
	names := c.names[first:]
	c.names = c.names[:first]
	if len(names) < 2 || c.repeated >= 0 {
		return
	}
	// Sorting needs no memory, and 100,000 names in one object are not 100,000² comparisons.
	slices.SortFunc(names, func(a, b nameAt) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return a.at - b.at
	})
	for i := 1; i < len(names); i++ {
		if names[i].hash == names[i-1].hash {
			c.repeated = names[i].at
			return
		}
	}
}

// repeatedName returns a name that an object has twice, or nil.
func (c *cursor) repeatedName() []byte {
	if c.repeated < 0 {
		return nil
	}
	return (&cursor{data: c.data, at: c.repeated}).unquoted()
}

// skip moves behind the value that stands here, without recursion.
func (c *cursor) skip() {
	depth := len(c.opens)
	for {
		switch b := c.next(); b {
		case 0:
			c.opens = c.opens[:depth]
			return
		case ',', ':':
			c.at++
			continue
		case '{':
			c.opens = append(c.opens, len(c.names))
			c.at++
		case '[':
			c.opens = append(c.opens, -1)
			c.at++
		case '}', ']':
			if first := c.opens[len(c.opens)-1]; first >= 0 {
				c.close(first)
			}
			c.opens = c.opens[:len(c.opens)-1]
			c.at++
		case '"':
			at := c.at
			name := c.unquoted()
			if len(c.opens) > depth && c.opens[len(c.opens)-1] >= 0 && c.next() == ':' {
				c.named(name, at)
			}
		default:
			c.token()
		}
		if len(c.opens) == depth {
			return
		}
	}
}

// appendUnquoted appends the text that the inside of a JSON string stands for. Half a surrogate
// pair becomes U+FFFD, as in encoding/json.
func appendUnquoted(text, quoted []byte) []byte {
	for i := 0; i < len(quoted); i++ {
		b := quoted[i]
		if b != '\\' || i+1 == len(quoted) {
			text = append(text, b)
			continue
		}
		i++
		switch b := quoted[i]; b {
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r := hexRune(quoted[i:])
			if utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if len(quoted) > i+6 && quoted[i+5] == '\\' {
					low = hexRune(quoted[i+6:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			text = utf8.AppendRune(text, r)
			i += 4
		default: // a quotation mark or a slash
			text = append(text, b)
		}
	}
	return text
}

// hexRune reads u and four hex digits.
func hexRune(s []byte) rune {
	if len(s) < 5 || s[0] != 'u' {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(s[1:5]), 16, 32)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}
