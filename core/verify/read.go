package verify

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// look is the result of reading content once.
type look struct {
	version string
	size    int64
	right   bool // it has the digest
}

// look reads the content of d to its end, no faster than the pace allows. With fresh it makes the
// kernel drop the bytes from its cache first, so that they come from the disk. Errors:
// bucket.ErrNotExist, and those of reading.
func (t *treeRun) look(ctx context.Context, d digest.Digest, fresh bool) (look, error) {
	object, err := t.tree.Store.Open(ctx, d)
	if err != nil {
		return look{}, err
	}
	defer object.Close()
	var file *os.File
	if of, ok := object.(interface{ File() *os.File }); ok {
		file = of.File()
	}
	info := object.Info()
	if fresh {
		forget(file, 0, 0)
	}
	// Files that clients use stay in the page cache.
	leave := mostlyCached(file, info.Size)
	verifier := d.Verifier()
	for at := int64(0); err == nil; {
		step := t.pace.step()
		if err := t.pace.wait(ctx, step); err != nil {
			return look{}, err
		}
		var n int
		n, err = io.ReadFull(object, t.buf[:step])
		_, _ = verifier.Write(t.buf[:n]) // a hash never fails
		t.pace.add(max(int64(n), minStep) - step)
		t.count(&t.read, int64(n))
		if !leave {
			forget(file, at, int64(n))
		}
		at += int64(n)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return look{}, err
	}
	return look{info.Version, info.Size, verifier.Verified()}, nil
}
