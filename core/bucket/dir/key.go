package dir

import (
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// maxName is the maximum length of a file name on every known file system (NAME_MAX), in
	// bytes.
	maxName = 255
	// capitalMark separates a name in lower case from the bitmap of its capitals. Keys cannot
	// contain it.
	capitalMark = '^'
	// pendingSlash replaces the slash where a whole key is one file name. Keys cannot contain
	// it.
	pendingSlash = ","
)

// keyByte reports whether a component of a key may contain the byte.
var keyByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:+=@-") {
		ok[c] = true
	}
	return ok
}()

// encodeKey returns the path of a key below objects/. Errors: ErrKeyInvalid.
func encodeKey(key string) (string, error) {
	capitals := false
	start := 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if !keyByte[key[i]] {
				return "", fmt.Errorf("%w %q: byte %q", bucket.ErrKeyInvalid, key, key[i])
			}
			capitals = capitals || isCapital(key[i])
			continue
		}
		switch component := key[start:i]; {
		case component == "" || component == "." || component == "..":
			return "", fmt.Errorf("%w %q: a component is empty or dots", bucket.ErrKeyInvalid, key)
		case len(component) > maxName:
			return "", fmt.Errorf("%w: a component is longer than %d bytes", bucket.ErrKeyInvalid, maxName)
		}
		start = i + 1
	}
	if !capitals {
		return key, nil
	}
	components := strings.Split(key, "/")
	for i, component := range components {
		components[i] = encodeName(component)
		if len(components[i]) > maxName {
			return "", fmt.Errorf("%w: a component with capitals is longer than %d bytes as a file name", bucket.ErrKeyInvalid, maxName)
		}
	}
	return strings.Join(components, "/"), nil
}

// encodeName writes a component so that names which differ only in case are
// different files where the file system folds case: in lower case, and if there
// are capitals, the mark and their bitmap, four letters to a hexadecimal digit
// from the left, without the zeros at its end.
func encodeName(name string) string {
	const hex = "0123456789abcdef"
	last := -1
	bits := make([]byte, (len(name)+3)/4)
	for i := range len(name) {
		if isCapital(name[i]) {
			bits[i/4] |= 8 >> (i % 4)
			last = i / 4
		}
	}
	if last < 0 {
		return name
	}
	var b strings.Builder
	b.WriteString(strings.ToLower(name))
	b.WriteByte(capitalMark)
	for _, nibble := range bits[:last+1] {
		b.WriteByte(hex[nibble])
	}
	return b.String()
}

// decodeName reverses encodeName. It returns false for a name that encodeName never writes: a
// foreign file.
func decodeName(file string) (string, bool) {
	lower, bitmap, marked := strings.Cut(file, string(capitalMark))
	name := []byte(lower)
	for i := range len(bitmap) {
		nibble := strings.IndexByte("0123456789abcdef", bitmap[i])
		for bit := range 4 {
			if nibble&(8>>bit) == 0 {
				continue
			}
			at := 4*i + bit
			if nibble < 0 || at >= len(name) || name[at] < 'a' || name[at] > 'z' {
				return "", false
			}
			name[at] -= 'a' - 'A'
		}
	}
	// Encoding again refuses what has two spellings (raw capitals, "a^0", "a^").
	if (marked && bitmap == "") || len(name) == 0 || encodeName(string(name)) != file {
		return "", false
	}
	for _, c := range name {
		if !keyByte[c] {
			return "", false
		}
	}
	return string(name), true
}

// pendingName returns the name below pending/ for the object at path, or false if it would be
// too long for a file name.
func pendingName(path string) (string, bool) {
	name := strings.ReplaceAll(path, "/", pendingSlash)
	return name, len(name) <= maxName
}

// pendingKey reverses encodeKey and pendingName.
func pendingKey(name string) (string, bool) {
	components := strings.Split(name, pendingSlash)
	for i, component := range components {
		decoded, ok := decodeName(component)
		if !ok {
			return "", false
		}
		components[i] = decoded
	}
	key := strings.Join(components, "/")
	_, err := encodeKey(key)
	return key, err == nil
}

func isCapital(c byte) bool { return 'A' <= c && c <= 'Z' }
