package running

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/verify"
)

const (
	// examineFor bounds the examination of the tags and referrers of each tree, and that of its
	// manifests, because a person waits for the doctor. In that time some 100,000 records can
	// be read from a disk that has them in memory.
	examineFor = 3 * time.Second
	// shownDamage bounds the records and digests that a finding names.
	shownDamage = 5
)

// lookAtRecords examines the records of a tree: of tags, referrers and manifests. A record that
// cannot be read also counts as wrong. Errors: those of listing the records, and the end of
// ctx.
func lookAtRecords(ctx context.Context, tree verify.Store) (look control.Records, err error) {
	if err := lookAtNames(ctx, tree, &look); err != nil {
		return look, fmt.Errorf("records: %w", err)
	}
	if err := lookAtManifests(ctx, tree, &look); err != nil {
		return look, fmt.Errorf("records of manifests: %w", err)
	}
	return look, nil
}

// lookAtNames examines the records of tags and referrers.
func lookAtNames(ctx context.Context, tree verify.Store, look *control.Records) error {
	until := time.Now().Add(examineFor)
	for record, err := range tree.Records(ctx, "") {
		if err != nil && (record.Key == "" || ctx.Err() != nil) {
			return err
		}
		problem := ""
		switch {
		case err != nil:
			problem = fmt.Sprintf("record %s cannot be read: %v", record.Key, err)
		case record.Damaged != nil:
			problem = record.Damaged.Error()
		case record.Dangling:
			problem = fmt.Sprintf("tag %s:%s names the manifest %s, which the repository does not hold", record.Repo, record.Tag, record.Digest)
		}
		if noteRecord(look, problem); time.Now().After(until) {
			look.More = true
			return nil
		}
	}
	return nil
}

// lookAtManifests examines the records of manifests. `registry verify` checks what the
// manifests name.
func lookAtManifests(ctx context.Context, tree verify.Store, look *control.Records) error {
	until := time.Now().Add(examineFor)
	for hold, err := range tree.HoldsIn(ctx, "") {
		if err != nil {
			return err
		}
		state, err := tree.ManifestState(ctx, hold.Repo, hold.Digest)
		problem := ""
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, bucket.ErrNotExist):
			continue // deleted meanwhile
		case err != nil:
			problem = fmt.Sprintf("manifest %s@%s cannot be read: %v", hold.Repo, hold.Digest, err)
		case state.Record != nil:
			problem = state.Record.Error()
		}
		if noteRecord(look, problem); time.Now().After(until) {
			look.More = true
			return nil
		}
	}
	return nil
}

// noteRecord counts a record, and its problem if there is one.
func noteRecord(look *control.Records, problem string) {
	look.Looked++
	if problem == "" {
		return
	}
	if look.Wrong++; look.Wrong <= shownDamage {
		look.Named = append(look.Named, problem)
	}
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
