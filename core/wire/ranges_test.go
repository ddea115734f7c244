package wire

import (
	"errors"
	"math"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

func TestParseRange(t *testing.T) {
	const size = 4096
	for _, tt := range []struct {
		name, field string
		want        span
		partial     bool
		bad         bool
	}{
		// The six forms of the conformance suite.
		{"in the middle", "bytes=500-1499", span{500, 1000}, true, false},
		{"to the end", "bytes=500-", span{500, size - 500}, true, false},
		{"the end", "bytes=-500", span{size - 500, 500}, true, false},
		{"beyond the end", "bytes=2000-5000", span{2000, size - 2000}, true, false},
		{"backwards", "bytes=500-0", span{}, false, true},
		{"behind the end", "bytes=5000-10000", span{}, false, true},

		{"everything", "bytes=0-", span{0, size}, true, false},
		{"the first byte", "bytes=0-0", span{0, 1}, true, false},
		{"the last byte", "bytes=4095-4095", span{4095, 1}, true, false},
		{"the byte behind the last", "bytes=4096-", span{}, false, true},
		{"an end longer than the blob", "bytes=-9999", span{0, size}, true, false},
		{"no bytes at the end", "bytes=-0", span{}, false, true},
		{"more digits than a number has", "bytes=0-99999999999999999999999", span{0, size}, true, false},
		{"a start beyond all numbers", "bytes=99999999999999999999999-", span{}, false, true},
		{"a dash", "bytes=-", span{}, false, true},
		{"nothing", "bytes=", span{}, false, true},
		{"no dash", "bytes=5", span{}, false, true},
		{"a sign", "bytes=+5-6", span{}, false, true},
		{"two dashes", "bytes=--5", span{}, false, true},
		{"letters", "bytes=a-b", span{}, false, true},
		{"another unit", "lines=0-1", span{0, size}, false, false},
		{"several", "bytes=0-1,4-5", span{0, size}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, partial, err := parseRange(tt.field, size)
			if tt.bad {
				if !errors.Is(err, errBlobRange) {
					t.Errorf("got %v, %v, want errBlobRange", got, err)
				}
				return
			}
			if got != tt.want || partial != tt.partial || err != nil {
				t.Errorf("got %v, %t, %v, want %v, %t", got, partial, err, tt.want, tt.partial)
			}
		})
	}
}

func TestParseContentRange(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		want        span
		bad         bool
	}{
		{"a chunk", "100-199", span{100, 100}, false},
		{"one byte", "0-0", span{0, 1}, false},
		{"an empty chunk", "100-99", span{100, 0}, false},
		{"backwards", "100-98", span{}, true},
		{"a unit", "bytes 0-1", span{}, true},
		{"a total", "0-1/2", span{}, true},
		{"half", "5-", span{}, true},
		{"nothing", "-", span{}, true},
		{"too long", "0-99999999999999999999", span{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseContentRange(tt.field)
			if got != tt.want || errors.Is(err, core.ErrBlobUploadInvalid) != tt.bad {
				t.Errorf("got %v, %v, want %v, bad %t", got, err, tt.want, tt.bad)
			}
		})
	}
}

// FuzzRange holds that an accepted range lies within the blob, or is the whole.
func FuzzRange(f *testing.F) {
	for _, field := range []string{"bytes=0-", "bytes=-1", "bytes=5-6", "bytes=9-0", "0-1", "bytes=99999999999999999999-", "bytes=0-1,2-3"} {
		f.Add(field, int64(10))
		f.Add(field, int64(0))
		f.Add(field, int64(math.MaxInt64))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		part, partial, err := parseRange(field, size)
		switch {
		case err != nil && partial:
			t.Errorf("%q of %d: partial, and %v", field, size, err)
		case err == nil && !partial && part != span{0, size}:
			t.Errorf("%q of %d: %v is not the whole", field, size, part)
		case partial && (part.start < 0 || part.length < 1 || part.length > size-part.start):
			t.Errorf("%q of %d: %v is not within", field, size, part)
		}
		if part, err := parseContentRange(field); err == nil && (part.start < 0 || part.length < 0 || part.start+part.length < 0) {
			t.Errorf("Content-Range %q: %v", field, part)
		}
	})
}
