package dir_test

import (
	"io"
	"slices"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// ragged returns few bytes at a time, and examines the upload each time.
type ragged struct {
	look func() int64
	left int
	seen []int64
}

func (r *ragged) Read(p []byte) (int, error) {
	r.seen = append(r.seen, r.look())
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.left, 60_001)
	r.left -= n
	return n, nil
}

// Writes end where the large folios of the page cache end, whatever the sizes of the pieces,
// also after an interruption of the upload.
func TestUploadsAreWrittenInWholeFolios(t *testing.T) {
	_, b := open(t, dir.Config{})
	u, err := b.NewUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var seen []int64
	for _, length := range []int{300_000, 500_000} {
		r := &ragged{look: u.Offset, left: length}
		if n, err := u.Append(t.Context(), r); n != int64(length) || err != nil {
			t.Fatalf("%d bytes were taken, %v, want %d", n, err, length)
		}
		seen = append(seen, r.seen...)
	}
	seen = append(slices.Compact(seen), u.Offset())
	if want := []int64{0, 256 << 10, 300_000, 512 << 10, 768 << 10, 800_000}; !slices.Equal(seen, want) {
		t.Errorf("writes ended at %d, want %d", seen, want)
	}
}
