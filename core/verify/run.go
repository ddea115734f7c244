package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

// Store is what a run needs of a tree: a store.Store.
type Store interface {
	ContentsIn(ctx context.Context, part store.Part) iter.Seq2[store.Content, error]
	HoldsIn(ctx context.Context, part store.Part) iter.Seq2[store.Hold, error]
	Open(ctx context.Context, d digest.Digest) (bucket.Object, error)
	ManifestState(ctx context.Context, repo string, d digest.Digest) (store.ManifestState, error)
	Records(ctx context.Context, repo string) iter.Seq2[store.RecordState, error]
	Quarantiner
}

var _ Store = (*store.Store)(nil)

// Options of a run.
type Options struct {
	// Repair moves content that does not match its digest to the quarantine.
	Repair bool
	// Repository limits the run to what one repository holds. Default: everything.
	Repository string
}

// run is one run over the trees.
type run struct {
	*Verifier
	Options
	report *Report
	// skip is called before the content of each part.
	skip func(tree Tree, part store.Part) bool
	held bool // Repository holds something
}

// all examines every tree. Errors: only the end of ctx.
func (r *run) all(ctx context.Context) error {
	for _, tree := range r.Trees {
		t := &treeRun{run: r, tree: tree, bad: map[digest.Digest]*Finding{}, hit: map[string]hits{}, buf: make([]byte, maxStep)}
		for _, examine := range []func(context.Context) error{t.contents, t.manifests, t.records} {
			if err := examine(ctx); err != nil {
				return err
			}
		}
		r.report.Read[tree.Name] = t.read
	}
	return nil
}

// hits are the findings about manifests of a repository and what they name.
type hits map[digest.Digest][]*Finding

// treeRun is a run over one tree: first all content, then the manifests, which name
// content, then the tags, which name manifests.
type treeRun struct {
	*run
	tree Tree
	read Read
	bad  map[digest.Digest]*Finding // content that is damaged or missing
	hit  map[string]hits            // by repository, for those that are hit
	buf  []byte
}

// trouble notes what could not be examined, unless the run is about to end anyway.
func (t *treeRun) trouble(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.report.addTrouble(Trouble{Tree: t.tree.Name, What: what, Error: err.Error()})
	t.Log.Error("verification could not read something", "tree", t.tree.Name, "what", what, "error", err)
	return nil
}

// found records damage. What it affects is added as it is discovered.
func (t *treeRun) found(f *Finding) *Finding {
	f.Tree = t.tree.Name
	t.report.add(f)
	t.damaged(f.Tree)
	return f
}

// contents reads all content.
func (t *treeRun) contents(ctx context.Context) error {
	for _, part := range store.Parts() {
		if t.skip(t.tree, part) {
			continue
		}
		for c, err := range t.tree.Store.ContentsIn(ctx, part) {
			if err == nil && t.Repository != "" && !slices.Contains(c.Repos, t.Repository) {
				continue
			}
			if err == nil {
				t.held = true
				_, err = t.content(ctx, c.Digest, c.Repos)
			} else {
				err = t.trouble(ctx, "content "+string(part), err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// content examines the content of d, and returns its damage, or nil. Errors: the end of ctx.
func (t *treeRun) content(ctx context.Context, d digest.Digest, repos []string) (*Finding, error) {
	f, err := t.examine(ctx, d)
	switch {
	case errors.Is(err, bucket.ErrNotExist):
		return nil, nil // removed meanwhile
	case err != nil:
		return nil, t.trouble(ctx, "content "+string(d), err)
	}
	t.read.Objects++
	if f == nil {
		return nil, nil
	}
	t.bad[d] = t.found(f)
	for _, repo := range repos {
		if t.Repository == "" || repo == t.Repository {
			t.report.hit(f, repo)
		}
	}
	t.Log.Error("stored content is damaged", "tree", f.Tree, "digest", d, "bytes", f.Size,
		"repositories", repos[:min(len(repos), maxLogged)], "quarantined", f.Quarantined)
	return f, nil
}

const (
	// maxLooks bounds how often content is read again because it was replaced meanwhile.
	maxLooks = 4
	// maxLogged bounds the repositories that a log line names.
	maxLogged = 20
)

// errUnreliable is content that was wrong once and right the second time.
var errUnreliable = errors.New("the bytes were wrong when read first and right when read again; the disk or the memory of this machine is unreliable")

// examine reads the content of d, twice if it is wrong, and moves it if it is to be
// repaired. It returns nil if the content is right, or if it was replaced since the first reading
// and is right now. Errors: bucket.ErrNotExist, and those of reading.
func (t *treeRun) examine(ctx context.Context, d digest.Digest) (*Finding, error) {
	for range maxLooks {
		first, err := t.look(ctx, d, false)
		if err != nil || first.right {
			return nil, err
		}
		second, err := t.look(ctx, d, true)
		switch {
		case err != nil:
			return nil, err
		case second.version != first.version && second.right:
			return nil, nil // it was replaced meanwhile
		case second.version != first.version:
			continue
		case second.right:
			return nil, errUnreliable
		}
		f := &Finding{Kind: KindContent, Digest: d, Size: second.size, Problem: "its bytes do not have this digest"}
		if !t.Repair {
			same, err := t.still(ctx, d, second.version)
			if err != nil || same {
				return f, err
			}
			continue
		}
		moved, err := t.tree.Store.Quarantine(ctx, d, second.version)
		if moved { // also if the move is not known to be durable
			t.report.Moved++
			t.moved(t.tree.Name, second.size)
			f.Quarantined = true
		}
		if err != nil { // it is damaged all the same
			return f, t.trouble(ctx, "quarantine "+string(d), err)
		}
		if moved {
			return f, nil
		}
	}
	return nil, fmt.Errorf("it was replaced %d times while it was read", maxLooks)
}

// still reports whether the content of d is of a version. Errors: bucket.ErrNotExist, and
// others of the bucket.
func (t *treeRun) still(ctx context.Context, d digest.Digest, version string) (bool, error) {
	object, err := t.tree.Store.Open(ctx, d)
	if err != nil {
		return false, err
	}
	defer object.Close()
	return object.Info().Version == version, nil
}
