package wire

import (
	"fmt"
	"math"
	"strings"

	"github.com/eblume/caddy-registry/core"
)

// span is a part of a blob or an upload: length bytes from start.
type span struct{ start, length int64 }

// parseRange reads a Range field (RFC 9110, 14.2) for size bytes. Fields that a
// server may ignore and that no registry client sends yield the whole: another unit
// than bytes, and several ranges at once.
//
// Errors: errBlobRange when the range is malformed or outside of the blob.
func parseRange(field string, size int64) (part span, partial bool, err error) {
	whole := span{0, size}
	spec, ok := strings.CutPrefix(field, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return whole, false, nil
	}
	from, to, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole, false, fmt.Errorf("%w: it is malformed", errBlobRange)
	}
	first, hasFirst := parseOffset(from)
	last, hasLast := parseOffset(to)
	switch {
	case from != "" && !hasFirst, to != "" && !hasLast, !hasFirst && !hasLast:
		return whole, false, fmt.Errorf("%w: it is malformed", errBlobRange)
	case !hasFirst: // the last so many bytes
		first, last = max(size-last, 0), size-1
	case !hasLast:
		last = size - 1
	}
	last = min(last, size-1)
	if first > last {
		return whole, false, errBlobRange
	}
	return span{first, last - first + 1}, true, nil
}

// parseContentRange reads the Content-Range field of a chunk, which in this spec has
// only two offsets (spec.md, "Pushing a blob in chunks"). An end before the start by
// one is an empty chunk. Errors: core.ErrBlobUploadInvalid.
func parseContentRange(field string) (span, error) {
	from, to, _ := strings.Cut(field, "-")
	first, hasFirst := parseOffset(from)
	last, hasLast := parseOffset(to)
	if !hasFirst || !hasLast || last == math.MaxInt64 || last < first-1 {
		return span{}, fmt.Errorf("%w: Content-Range is not <first>-<last>", core.ErrBlobUploadInvalid)
	}
	return span{first, last - first + 1}, nil
}

// parseOffset reads only digits. A number beyond int64 yields its largest value,
// which is beyond every blob.
func parseOffset(s string) (n int64, ok bool) {
	for i := range len(s) {
		digit := int64(s[i]) - '0'
		if digit < 0 || digit > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-digit)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + digit
	}
	return n, s != ""
}
