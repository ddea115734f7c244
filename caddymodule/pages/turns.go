package pages

import (
	"context"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// turns bounds what pages do at once in the process, by its capacity.
type turns chan struct{}

// maxWait is how long a page waits for its turn.
const maxWait = 5 * time.Second

// errTurn is the error of a page whose turn did not come. Anybody can cause it, so no log has it.
var errTurn = fmt.Errorf("%w: other pages are being composed", core.ErrUnavailable)

// take waits for a turn, which end ends. Errors: errTurn after maxWait, that of ctx.
func (t turns) take(ctx context.Context) (end func(), err error) {
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-wait.C:
		return nil, errTurn
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// large lets two large manifests be on pages at once: to compose one of 4 MiB takes up to a second of
// the processor's time, and several times its size.
var large = make(turns, 2)

// largeManifest is the size from which a manifest is large, in bytes. Those of images have a few KB.
const largeManifest = 256 << 10

// isLarge reports whether the manifest of a row is large, or may be.
func isLarge(row core.ImageRow) bool {
	return row.Digest != "" && (!row.Described || row.Size > largeManifest)
}
