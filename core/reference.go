package core

import (
	_ "crypto/sha256" // digests are content addresses: both must be linked in
	_ "crypto/sha512"
	"fmt"
	"regexp"

	"github.com/opencontainers/go-digest"
)

const (
	// MaxNameLength bounds a repository name in bytes: the length clients assume
	// (docs of distribution/reference), and what one file name can hold.
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

// The grammar of spec.md, "Pulling manifests".
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// ParseName checks a repository name. Errors: ErrNameInvalid.
func ParseName(s string) (string, error) {
	if len(s) > MaxNameLength {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrNameInvalid, MaxNameLength)
	}
	if !namePattern.MatchString(s) {
		return "", fmt.Errorf("%w %q: lower-case letters and digits, with single . _ - between them, in components divided by /", ErrNameInvalid, s)
	}
	return s, nil
}

// ParseTag checks a tag. Errors: ErrTagInvalid.
func ParseTag(s string) (string, error) {
	if !tagPattern.MatchString(s) {
		return "", fmt.Errorf("%w %q: at most %d of letters, digits, _ . - and not beginning with . or -", ErrTagInvalid, clip(s), MaxTagLength)
	}
	return s, nil
}

// ParseDigest checks a digest: sha256 or sha512, lower-case hex.
// Errors: ErrDigestInvalid.
func ParseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrDigestInvalid, clip(s), err)
	}
	if !Supported(d.Algorithm()) {
		return "", fmt.Errorf("%w: %q: algorithm is neither sha256 nor sha512", ErrDigestInvalid, clip(s))
	}
	return d, nil
}

// Supported tells whether content may be addressed with alg.
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

// clip keeps a client's nonsense out of logs and answers.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
