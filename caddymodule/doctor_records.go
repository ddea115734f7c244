package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/verify"
)

const (
	// examineFor bounds the look at the tags and referrers of each tree, and that at its
	// manifests: somebody waits for the doctor. It is some 100,000 records of a disk that has
	// them in memory.
	examineFor = 3 * time.Second
	// shownDamage bounds the records and digests that a finding names.
	shownDamage = 5
)

// lookAtRecords examines the records of a tree: of tags, referrers and manifests. A record
// that cannot be read is wrong, too. Errors: those of listing the records, and the end of ctx.
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

// lookAtManifests examines the records of manifests. What the manifests name is left to
// `registry verify`.
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

// noteRecord counts a record, and its problem if it has one.
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

// describeRecords reports damaged records. Those of mirrors are learned again.
func describeRecords(c *control.Condition) (string, error) {
	looked, more := 0, ""
	for _, tree := range []string{storage.PrivateTree, storage.MirrorsTree} {
		look := c.Records[tree]
		looked += look.Looked
		if look.More {
			more = "; there are more, which `registry verify` examines"
		}
		if look.Wrong == 0 {
			continue
		}
		text := fmt.Sprintf("damaged records of tags, referrers and manifests (%s): %d: %s", tree, look.Wrong, strings.Join(look.Named, "; "))
		if hidden := look.Wrong - len(look.Named); hidden > 0 {
			text += fmt.Sprintf("; and %d more", hidden)
		}
		if tree == storage.MirrorsTree {
			return "", doctor.Warning(text + "; a mirror asks its upstream again")
		}
		return "", errors.New(text + "; push the image again, or delete it, as an administrator")
	}
	return fmt.Sprintf("%d records of tags, referrers and manifests are in good order%s", looked, more), nil
}
