package core

import (
	_ "crypto/sha256" // digests are content addresses: both must be linked in
	_ "crypto/sha512"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	// MaxNameLength bounds a repository name in bytes: clients assume this length
	// (docs of distribution/reference), and one file name can hold it.
	MaxNameLength = 255
	// MaxTagLength bounds a tag in bytes (spec.md, "Pulling manifests").
	MaxTagLength = 128
	// MaxManifestSize bounds a manifest in bytes: the spec asks registries to
	// take at least 4 MB.
	MaxManifestSize = 4 << 20
)

// Reference names a manifest within a repository: by tag, or by digest. Exactly
// one of the two is set.
type Reference struct {
	Tag    string
	Digest digest.Digest
}

func (r Reference) String() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

// ParseName checks a repository name (spec.md, "Pulling manifests"): components
// divided by single slashes, each of lower-case letters and digits with a dot, one or
// two underscores, or hyphens between them. No component begins with an underscore.
// Errors: ErrNameInvalid.
func ParseName(s string) (string, error) {
	if len(s) > MaxNameLength {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrNameInvalid, MaxNameLength)
	}
	if !validName(s) {
		return "", fmt.Errorf("%w %q: lower-case letters and digits, with single . _ - between them, in components divided by /", ErrNameInvalid, s)
	}
	return s, nil
}

// validName reads the grammar by hand: every request has a name, and the regular
// expression took longer than the rest of its parsing. A fuzz test checks that the
// two agree.
func validName(s string) bool {
	for i := 0; i < len(s); {
		// Here a run of letters and digits begins.
		if !lowerAlnum(s[i]) {
			return false
		}
		for i < len(s) && lowerAlnum(s[i]) {
			i++
		}
		if i == len(s) {
			return true
		}
		switch s[i] {
		case '.', '/':
			i++
		case '_':
			i++
			if i < len(s) && s[i] == '_' {
				i++
			}
		case '-':
			for i < len(s) && s[i] == '-' {
				i++
			}
		default:
			return false
		}
	}
	return false // empty, or it ends in a separator
}

// ParseTag checks a tag (spec.md, "Pulling manifests"). Errors: ErrTagInvalid.
func ParseTag(s string) (string, error) {
	if !validTag(s) {
		return "", fmt.Errorf("%w %q: at most %d of letters, digits, _ . - and not beginning with . or -", ErrTagInvalid, Clip(s), MaxTagLength)
	}
	return s, nil
}

func validTag(s string) bool {
	if s == "" || len(s) > MaxTagLength || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !lowerAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func lowerAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

// ParseDigest checks a digest: sha256 or sha512, lower-case hex.
// Errors: ErrDigestInvalid.
func ParseDigest(s string) (digest.Digest, error) {
	alg, hex, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("%w: %q: not of the form algorithm:hex", ErrDigestInvalid, Clip(s))
	}
	if !Supported(digest.Algorithm(alg)) {
		return "", fmt.Errorf("%w: %q: algorithm is neither sha256 nor sha512", ErrDigestInvalid, Clip(s))
	}
	if want := digest.Algorithm(alg).Size() * 2; len(hex) != want {
		return "", fmt.Errorf("%w: %q: %d characters after the colon, not %d", ErrDigestInvalid, Clip(s), len(hex), want)
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("%w: %q: not in lower-case hex", ErrDigestInvalid, Clip(s))
		}
	}
	return digest.Digest(s), nil
}

// Supported reports whether content may be addressed with alg.
func Supported(alg digest.Algorithm) bool {
	return alg == digest.SHA256 || alg == digest.SHA512
}

// ParseReference reads the last path element of a manifest's URL: a digest if it
// has a colon, else a tag. Errors: ErrDigestInvalid, ErrTagInvalid.
func ParseReference(s string) (Reference, error) {
	for i := range len(s) {
		if s[i] == ':' {
			d, err := ParseDigest(s)
			return Reference{Digest: d}, err
		}
	}
	t, err := ParseTag(s)
	return Reference{Tag: t}, err
}

// Clip shortens untrusted text for logs and answers: after 80 bytes it ends in an ellipsis.
// A host name has at most 253 bytes; this is enough to recognise one.
func Clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
