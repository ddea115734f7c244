package pulls

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Import notes when manifests of repo were last pulled elsewhere, unless a later pull is known. A
// time in the future counts as now. It does not change the counts, so that it can be repeated. It
// is not synced. Errors are the bucket's.
func (t *Times) Import(ctx context.Context, repo string, last map[digest.Digest]time.Time) error {
	t.folding.Lock()
	defer t.folding.Unlock()
	record, err := t.read(ctx, repo)
	if err != nil {
		return fmt.Errorf("import pulls of %s: %w", repo, err)
	}
	now, earlier, changed := time.Now().UTC(), map[digest.Digest]Count{}, false
	for d, at := range last {
		if at.After(now) {
			at = now
		}
		earlier[d] = Count{Last: at.UTC()}
		changed = changed || at.After(record.Manifests[d].Last)
	}
	if !changed {
		return nil
	}
	addTo(&record.Manifests, earlier)
	record.retain(Keep{})
	data, err := json.Marshal(record)
	if err == nil {
		_, err = t.bucket.Put(ctx, t.prefix+repo+recordPart, data, bucket.Condition{})
	}
	if err != nil {
		return fmt.Errorf("import pulls of %s: %w", repo, err)
	}
	return nil
}
