package running

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/quota"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// Trees are the open parts of a storage.
type Trees struct {
	// Private are the pushed images, and Pulls the records of their pulls.
	Private *store.Store
	Pulls   *pulls.Times
	// notes is the bucket below Private, for the records of imports.
	notes bucket.Bucket
	// pushes is Private with the limits of what clients may push.
	pushes *quota.Registry
	// Mirrors is the content that was fetched from other registries. The registry also works
	// without it.
	Mirrors *store.Store
	// State is the bucket below Mirrors, for the mirrors' records about their content.
	State       bucket.Bucket
	mirrorPulls *pulls.Times
	// privateDisk and mirrorsDisk are directories on the disks of the two, or empty.
	privateDisk, mirrorsDisk string
	// keeping bounds mirrors while they are served; nil for a command.
	keeping *keeping
	// history is what happened; nil for a command.
	history *history
	// verifying compares both with their digests.
	verifying *verify.Verifier
	// identity has keys, sessions and users. No request reaches it by a name.
	identity bucket.Bucket
}

// OpenTrees opens the trees of a storage. The caller closes the trees before the storage.
func OpenTrees(ctx context.Context, opened storage.Buckets, settings store.Settings, log *slog.Logger) (_ *Trees, err error) {
	t := &Trees{privateDisk: storage.DiskOf(opened, storage.PrivateTree), mirrorsDisk: storage.DiskOf(opened, storage.MirrorsTree)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	if t.identity, err = opened.Bucket(storage.IdentityTree); err != nil {
		return nil, err
	}
	private, err := opened.Bucket(storage.PrivateTree)
	if err != nil {
		return nil, err
	}
	t.notes = private
	if t.Private, t.Pulls, _, err = openStore(ctx, opened, storage.PrivateTree, privatePulls, store.Config{Settings: settings}, log); err != nil {
		return nil, err
	}
	limited := quota.Config{Registry: t.Private}
	if t.privateDisk != "" {
		limited.Disk = evict.DiskOf(t.privateDisk)
	}
	t.pushes = quota.New(limited)
	fetched := store.Config{Sparse: true, Settings: ofMirrors(settings)}
	if t.Mirrors, t.mirrorPulls, t.State, err = openStore(ctx, opened, storage.MirrorsTree, pullsPrefix, fetched, log); err != nil {
		return nil, err
	}
	t.verifying = verify.New(ctx, verify.Config{
		Trees: []verify.Tree{
			{Name: storage.PrivateTree, Store: t.Private},
			{Name: storage.MirrorsTree, Store: t.Mirrors, Mirror: true},
		},
		State: private, Log: log,
		Ended: func(r *verify.Report) { t.history.verified(r) },
	})
	return t, nil
}

// openStore opens a tree's store, with its index and its pulls: the index answers lists, and what
// pages show of pulls, too.
func openStore(ctx context.Context, opened storage.Buckets, tree, pullsPrefix string, c store.Config, log *slog.Logger) (*store.Store, *pulls.Times, bucket.Bucket, error) {
	b, err := opened.Bucket(tree)
	if err != nil {
		return nil, nil, nil, err
	}
	c.Log = log.With("tree", tree)
	x, err := index.ForStore(storage.IndexOf(opened, tree), c.Log)
	if err != nil {
		return nil, nil, nil, err
	}
	times := pulls.New(pulls.Config{Bucket: b, Prefix: pullsPrefix, Log: c.Log, Written: func(repo string, counted pulls.Record) {
		for change := range pullChanges(store.Pulled, store.PulledOn, repo, counted) {
			x.Apply(change)
		}
	}})
	c.Names, c.Projection = x, x
	c.PullsOf = func(ctx context.Context, repo string) iter.Seq2[store.Change, error] {
		return func(yield func(store.Change, error) bool) {
			record, err := times.Stored(ctx, repo)
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			for change := range pullChanges(store.PullsRead, store.DaysRead, repo, record) {
				if !yield(change, nil) {
					return
				}
			}
		}
	}
	if !c.Sparse { // what mirrors keep is the evictor's to decide
		c.Pulled = times.Of
	}
	s, err := store.Open(ctx, b, c)
	return s, times, b, err
}

// pullChanges are the pulls of a repository as changes of what pages show: events of things, and one
// of days.
func pullChanges(event, days store.Event, repo string, record pulls.Record) iter.Seq[store.Change] {
	return func(yield func(store.Change) bool) {
		if len(record.Days) > 0 && !yield(store.Change{Event: days, Repo: repo, Days: record.Days}) {
			return
		}
		for d, n := range record.Manifests {
			if !yield(store.Change{Event: event, Repo: repo, Digest: d, Pulls: core.PullCount(n)}) {
				return
			}
		}
		for tag, n := range record.Tags {
			if !yield(store.Change{Event: event, Repo: repo, Tag: tag, Pulls: core.PullCount(n)}) {
				return
			}
		}
	}
}

// ofMirrors returns the settings of the mirrors' store beside a private one with settings.
// `untagged` is not for mirrors: a client that pulls by digest leaves no tag.
func ofMirrors(settings store.Settings) store.Settings {
	settings.Untagged = store.KeepUntagged
	return settings
}

// setStores changes what may change while the trees are open.
func (t *Trees) setStores(settings store.Settings) {
	t.Private.SetSettings(settings)
	t.Mirrors.SetSettings(ofMirrors(settings))
}

// SetLimits changes what clients may push.
func (t *Trees) SetLimits(limits quota.Limits) { t.pushes.SetLimits(limits) }

// SetVerifying changes how fast and how often stored content is verified.
func (t *Trees) SetVerifying(settings verify.Settings) { t.verifying.SetSettings(settings) }

// Collect runs the collector in each tree. If one fails, the other is still collected. Idle
// uploads are dropped while pushes find no room; the evictor makes room for mirrors.
func (t *Trees) Collect(ctx context.Context, how store.CollectOptions) (c control.Collected, err error) {
	var errs [2]error
	private := how
	private.Pressed = t.pushes.Pressed
	c.Private, errs[0] = t.Private.Collect(ctx, private)
	if !how.DryRun && ctx.Err() == nil {
		errs[0] = errors.Join(errs[0], t.foldPulls(ctx))
	}
	c.Mirrors, errs[1] = t.Mirrors.Collect(ctx, how)
	if !how.DryRun && ctx.Err() == nil {
		errs[1] = errors.Join(errs[1], t.verifying.Expire(ctx))
	}
	return c, errors.Join(errs[:]...)
}

// foldPulls adds up the pulls of past days, for content that the private store still holds.
func (t *Trees) foldPulls(ctx context.Context) error {
	var failed []error
	for repo, err := range t.Pulls.Repositories(ctx) {
		if err == nil {
			var keep pulls.Keep
			if keep, err = t.stillHeld(ctx, repo); err == nil {
				err = t.Pulls.Fold(ctx, repo, keep)
			}
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// stillHeld reports the content of a repository of the private store.
func (t *Trees) stillHeld(ctx context.Context, repo string) (pulls.Keep, error) {
	manifests, tags := map[digest.Digest]struct{}{}, map[string]struct{}{}
	for d, err := range t.Private.Digests(ctx, repo) {
		if err != nil {
			return pulls.Keep{}, err
		}
		manifests[d] = struct{}{}
	}
	for tag, err := range t.Private.Tags(ctx, repo, "") {
		if errors.Is(err, core.ErrNameUnknown) {
			break
		} else if err != nil {
			return pulls.Keep{}, err
		}
		tags[tag] = struct{}{}
	}
	return pulls.Keep{
		Manifest: func(d digest.Digest) bool { _, ok := manifests[d]; return ok },
		Tag:      func(tag string) bool { _, ok := tags[tag]; return ok },
	}, nil
}

// Close closes the stores. It may be called when not all of them were opened.
func (t *Trees) Close() error {
	errs := []error{t.verifying.Close(), t.keeping.close()}
	for _, p := range []*pulls.Times{t.Pulls, t.mirrorPulls} { // they tell the stores' indexes
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, s := range []*store.Store{t.Mirrors, t.Private} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, t.history.close())...)
}
