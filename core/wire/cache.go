package wire

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// Content that is named by its digest never changes; a year is the longest that
// caches honour. Tags and lists are revalidated.
const (
	immutablePublic  = "public, max-age=31536000, immutable"
	immutablePrivate = "private, max-age=31536000, immutable"
	revalidate       = "no-cache"
	revalidateOwn    = "private, no-cache"
)

// cacheControl returns how long, and where, the answer may be kept.
func (e *exchange) cacheControl(immutable bool) string {
	switch {
	case immutable && e.opts.Public:
		return immutablePublic
	case immutable:
		return immutablePrivate
	case e.opts.Public:
		return revalidate
	}
	return revalidateOwn
}

// etag is the digest as a strong entity tag.
func etag(d digest.Digest) string {
	return `"` + string(d) + `"`
}

// matches reports whether a field If-None-Match lists tag, by weak comparison (RFC
// 9110, 13.1.2), or is the asterisk. A comma within a tag cannot mislead it: ours have
// none.
func matches(field, tag string) bool {
	for entry := range strings.SplitSeq(field, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" || strings.TrimPrefix(entry, "W/") == tag {
			return true
		}
	}
	return false
}
