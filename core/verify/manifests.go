package verify

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/graph"
	"github.com/eblume/caddy-registry/core/store"
)

// manifests examines the manifests of each repository: their records, and what they name.
func (t *treeRun) manifests(ctx context.Context) error {
	for _, part := range store.Parts() {
		for hold, err := range t.tree.Store.HoldsIn(ctx, part) {
			if err == nil && t.Repository != "" && hold.Repo != t.Repository {
				continue
			}
			if err == nil {
				t.held = true
				err = t.manifest(ctx, hold.Repo, hold.Digest)
			} else {
				err = t.trouble(ctx, "manifests "+string(part), err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *treeRun) manifest(ctx context.Context, repo string, d digest.Digest) error {
	state, err := t.state(ctx, repo, d)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return nil // deleted meanwhile
	case err != nil:
		return t.trouble(ctx, "manifest "+repo+"@"+string(d), err)
	}
	t.read.Manifests++
	if state.Record != nil {
		f := t.found(&Finding{Kind: KindRecord, Digest: d, Problem: state.Record.Error()})
		t.report.hitManifest(f, repo, d)
		t.logRecord(f, repo, "")
	}
	if state.Wrong && t.bad[d] == nil { // pushed, or damaged, since the content was read
		if _, err := t.content(ctx, d, []string{repo}); err != nil {
			return err
		}
	}
	switch {
	case state.Missing && !t.tree.Mirror:
		t.hits(t.missing(d), repo, d)
	case t.bad[d] != nil:
		t.hits(t.bad[d], repo, d)
	}
	for named := range graph.Named(state.Bytes) {
		if f := t.bad[named]; f != nil && f.Kind == KindContent {
			t.hits(f, repo, d)
		}
	}
	for _, blob := range state.Lacks {
		if f := t.missing(blob); f.Kind == KindMissing {
			t.hits(f, repo, d)
		}
	}
	for _, child := range state.Absent {
		t.report.addAbsence(Absence{Tree: t.tree.Name, Repository: repo, Index: d, Digest: child})
	}
	return nil
}

// state is the Store's ManifestState, at the pace.
func (t *treeRun) state(ctx context.Context, repo string, d digest.Digest) (store.ManifestState, error) {
	if err := t.pace.wait(ctx, minStep); err != nil {
		return store.ManifestState{}, err
	}
	state, err := t.tree.Store.ManifestState(ctx, repo, d)
	n := int64(len(state.Bytes))
	t.pace.add(n)
	t.count(&t.read, n)
	return state, err
}

// missing is the finding that content of d is missing, unless another is known: it was
// damaged, and is in the quarantine now.
func (t *treeRun) missing(d digest.Digest) *Finding {
	if f := t.bad[d]; f != nil {
		return f
	}
	f := t.found(&Finding{Kind: KindMissing, Digest: d, Problem: "a manifest or a tag names it, and it is not stored"})
	t.bad[d] = f
	t.Log.Error("content that is needed is missing from the storage", "tree", f.Tree, "digest", d)
	return f
}

// hits records that f affects a manifest, and everything that leads to it.
func (t *treeRun) hits(f *Finding, repo string, d digest.Digest) {
	if t.hit[repo] == nil {
		t.hit[repo] = hits{}
	}
	if slices.Contains(t.hit[repo][d], f) {
		return // it names the content twice
	}
	t.hit[repo][d] = append(t.hit[repo][d], f)
	t.report.hitManifest(f, repo, d)
}

// records examines the records of tags and referrers, and finds the tags that lead to damage.
func (t *treeRun) records(ctx context.Context) error {
	var reach *reach
	for record, err := range t.tree.Store.Records(ctx, t.Repository) {
		if err != nil {
			what := "records"
			if record.Key != "" {
				what = "record " + record.Key
			}
			if err := t.trouble(ctx, what, err); err != nil {
				return err
			}
			continue
		}
		if err := t.pace.wait(ctx, minStep); err != nil {
			return err
		}
		t.held = true
		t.read.Records++
		if record.Damaged != nil {
			f := t.found(&Finding{Kind: KindRecord, Digest: record.Digest, Problem: record.Damaged.Error()})
			if record.Tag != "" {
				t.report.hitTag(f, record.Repo, record.Tag)
			} else {
				t.report.hitManifest(f, record.Repo, record.Digest)
			}
			t.logRecord(f, record.Repo, record.Tag)
			continue
		}
		if record.Tag == "" {
			continue
		}
		if record.Dangling {
			t.report.hitTag(t.missing(record.Digest), record.Repo, record.Tag)
			continue
		}
		if t.hit[record.Repo] == nil {
			continue
		}
		if reach == nil || reach.repo != record.Repo {
			reach = newReach(t, record.Repo)
		}
		findings, err := reach.of(ctx, record.Digest)
		if err != nil {
			return err
		}
		for _, f := range findings {
			t.report.hitTag(f, record.Repo, record.Tag)
		}
	}
	return nil
}

func (t *treeRun) logRecord(f *Finding, repo, tag string) {
	t.Log.Error("record in the storage is damaged", "tree", f.Tree, "repository", repo, "tag", tag, "digest", f.Digest, "error", f.Problem)
}

// reach follows indexes of one repository to the manifests that are hit.
type reach struct {
	*treeRun
	repo  string
	known hits
}

func newReach(t *treeRun, repo string) *reach { return &reach{t, repo, hits{}} }

// of returns the findings that affect d or what it lists. Errors: the end of ctx.
func (r *reach) of(ctx context.Context, d digest.Digest) ([]*Finding, error) {
	if known, ok := r.known[d]; ok {
		return known, nil
	}
	all := slices.Clone(r.hit[r.repo][d])
	r.known[d] = all // of an index that lists itself, if there were one
	state, err := r.state(ctx, r.repo, d)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return all, nil
	case err != nil:
		return all, r.trouble(ctx, "manifest "+r.repo+"@"+string(d), err)
	}
	doc, err := core.Inspect(state.Bytes)
	if err != nil {
		return all, nil // it lists nothing, or cannot be read
	}
	for _, child := range doc.Manifests {
		below, err := r.of(ctx, child.Digest)
		if err != nil {
			return nil, err
		}
		for _, f := range below {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	r.known[d] = all
	return all, nil
}
