package running

import (
	"context"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core/verify"
)

const (
	// examineFor bounds the look at the records of each tree: somebody waits for the doctor.
	// It is some 100,000 records of a disk that has them in memory.
	examineFor = 3 * time.Second
	// shownDamage bounds the records and digests that a finding names.
	shownDamage = 5
)

// lookAtRecords examines the records of a tree. A record that cannot be read is wrong, too.
// Errors: those of listing the records, and the end of ctx.
func lookAtRecords(ctx context.Context, tree verify.Store) (look control.Records, err error) {
	until := time.Now().Add(examineFor)
	for record, err := range tree.Records(ctx, "") {
		if err != nil && (record.Key == "" || ctx.Err() != nil) {
			return look, fmt.Errorf("records: %w", err)
		}
		look.Looked++
		problem := ""
		switch {
		case err != nil:
			problem = fmt.Sprintf("record %s cannot be read: %v", record.Key, err)
		case record.Damaged != nil:
			problem = record.Damaged.Error()
		case record.Dangling:
			problem = fmt.Sprintf("tag %s:%s names the manifest %s, which the repository does not hold", record.Repo, record.Tag, record.Digest)
		}
		if problem != "" {
			if look.Wrong++; look.Wrong <= shownDamage {
				look.Named = append(look.Named, problem)
			}
		}
		if look.More = time.Now().After(until); look.More {
			break
		}
	}
	return look, nil
}

// quarantined returns the first digests in the quarantine of a tree.
func quarantined(ctx context.Context, tree verify.Store) (digests []string, err error) {
	for object, err := range tree.Quarantined(ctx) {
		if err != nil {
			return nil, fmt.Errorf("quarantine: %w", err)
		}
		if digests = append(digests, string(object.Digest)); len(digests) == shownDamage {
			break
		}
	}
	return digests, nil
}
