package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

const (
	// together is how many images of a repository are imported at once: their syncs are
	// shared, and more would not read a disk faster.
	together = 8
	// maxRepositories bounds the list of repositories, which is kept in memory: about 100 MiB.
	maxRepositories = 1 << 20
	// maxDepth bounds nested indexes. Images in registries have two levels.
	maxDepth = 8
	// maxAttempts is how often an image is put whose blobs the collector removed between their
	// copy and the put. That happens only with a grace shorter than the copy of a layer.
	maxAttempts = 5
)

// Skip is the error of Config.Name for a repository that is left out on purpose. Its text is the
// reason.
type Skip string

func (s Skip) Error() string { return string(s) }

// Target receives the images. *store.Store implements it.
type Target interface {
	core.Writer
	Resolve(ctx context.Context, repo string, ref core.Reference) (core.Descriptor, error)
	Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error)
	Holders(ctx context.Context, d digest.Digest) iter.Seq2[string, error]
}

// Adopter is the ability of a Target to share a file with the source. *store.Store implements it.
type Adopter interface {
	// Adopt begins to make an open file the blob d. Errors: errors.ErrUnsupported when the file
	// must be copied, core.ErrDigestInvalid when it is damaged or was changed.
	Adopt(ctx context.Context, d digest.Digest, f *os.File) (core.Adoption, error)
}

// Pulls records when manifests of a repository were last pulled. It may be called again with the
// same times. *pulls.Times implements it.
type Pulls interface {
	Import(ctx context.Context, repo string, last map[digest.Digest]time.Time) error
}

// Config configures an import. Its parts belong to the caller.
type Config struct {
	Source Source
	Target Target
	// Notes is the bucket below Target. The imported tags and manifests are recorded in it, below
	// imports/, so that a later import does not restore what was deleted since.
	Notes bucket.Bucket
	// Name returns the name under which a repository of the source is kept. Errors:
	// Skip; any other error leaves the repository out, too.
	Name func(repo string) (string, error)
	// Mirror returns the mirror that a name belongs to, as Name returns it; nil: the name is
	// private. An error leaves the repository out. Default: every name is private.
	Mirror func(name string) (*Mirror, error)
	// User returns the name here of a user of the source. Default: the same.
	User func(name string) string
	// Pulls receives when imported manifests were last pulled at the source. Default: these times
	// are dropped.
	Pulls Pulls
	// Room returns core.ErrNoSpace unless there is room for size bytes more. It is called before
	// a blob or a manifest is written, and with 0 while a blob is written. Its error, like a full
	// disk, leaves out the image and ends the import. Default: there is room.
	Room func(size int64) error
	// Link shares the files of layers with the source, if the Target is an Adopter and the source has
	// them as files on the same file system. Their owner must never write to them again: manifests,
	// which zot writes in place, and configs are always copied. Default: everything is copied.
	Link bool
	// DryRun reads and checks everything without changes.
	DryRun bool
	// Report is called for every item, by several goroutines but never by two at a time. Default:
	// nothing is reported.
	Report func(Item)
}

// importer is one run of Import.
type importer struct {
	Config
	spellings map[string][]string // by name here: the names there; never changed
	mu        sync.Mutex          // guards summary, and calls of Report
	summary   Summary
}

// Import copies the images of the source. The summary is correct also with an error, which is
// that of ctx, or the reason why nothing more could be read or written. Another Import then
// continues.
func Import(ctx context.Context, c Config) (Summary, error) {
	if c.User == nil {
		c.User = func(name string) string { return name }
	}
	if c.Report == nil {
		c.Report = func(Item) {}
	}
	if c.Room == nil {
		c.Room = func(int64) error { return nil }
	}
	if c.Mirror == nil {
		c.Mirror = func(string) (*Mirror, error) { return nil, nil }
	}
	i := &importer{Config: c, spellings: map[string][]string{}}
	names, unlisted := i.names(ctx)
	for _, name := range names {
		if err := i.repository(ctx, name); err != nil {
			return i.summary, fmt.Errorf("import %s: %w", name, err)
		}
	}
	return i.summary, unlisted
}

// names lists the repositories of the source, and fills spellings. With an error, which is that of
// ctx or says why the list ended early, the names before it are returned, too.
func (i *importer) names(ctx context.Context) (names []string, err error) {
	for name, err := range i.Source.Repositories(ctx) {
		switch {
		case ctx.Err() != nil:
			return names, context.Cause(ctx)
		case err != nil && name == "":
			return names, fmt.Errorf("list the repositories: %w", err)
		case err != nil:
			i.report(Item{Source: name, Outcome: LeftOut, Reason: err.Error()})
			continue
		case len(names) == maxRepositories:
			return names, fmt.Errorf("list the repositories: more than %d", maxRepositories)
		}
		names = append(names, name)
		if here, err := i.Name(name); err == nil {
			i.spellings[here] = append(i.spellings[here], name)
		}
	}
	return names, nil
}

func (i *importer) report(item Item) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.summary.count(item)
	i.Report(item)
}

// repository imports one repository. An error ends the import.
func (i *importer) repository(ctx context.Context, source string) error {
	leave := func(outcome Outcome, err error) error {
		i.report(Item{Source: source, Outcome: outcome, Reason: err.Error()})
		return nil
	}
	name, err := i.Name(source)
	if skip := Skip(""); errors.As(err, &skip) {
		return leave(Skipped, err)
	} else if err != nil {
		return leave(LeftOut, err)
	}
	mirror, err := i.Mirror(name)
	if err != nil {
		return leave(LeftOut, err)
	}
	images, err := i.Source.Images(ctx, source)
	if err != nil && ctx.Err() == nil {
		return leave(LeftOut, err)
	} else if err != nil {
		return err
	}
	if len(images) == 0 {
		return leave(Skipped, errors.New("the repository is empty"))
	}
	i.mu.Lock()
	i.summary.Repositories++
	i.mu.Unlock()
	r := &repository{importer: i, Target: i.Target, Room: i.Room, source: source, name: name, listed: map[digest.Digest]Image{}, pulled: map[digest.Digest]time.Time{}, begun: map[digest.Digest]*visit{}}
	if mirror != nil {
		r.mirror, r.Target = mirror, mirror.Target
		r.Room = func(size int64) error { return mirror.Room(ctx, name, size) }
	}
	if err := r.oneOfEach(ctx, images); err != nil {
		return err
	}
	for _, image := range images {
		r.listed[image.Digest] = image
	}
	whole := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for d := range r.listed {
		group.Go(func() error {
			if err := r.visit(ctx, d, "", 0); !errors.Is(err, ErrAbsent) {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || i.Pulls == nil || i.DryRun || len(r.pulled) == 0 {
		return err
	}
	return i.Pulls.Import(whole, name, r.pulled)
}

// repository is one that is being imported.
type repository struct {
	*importer
	// Target and Room stand in front of those of Config: a mirror has its own.
	Target       Target
	Room         func(size int64) error
	mirror       *Mirror // nil: it is private
	source, name string
	listed       map[digest.Digest]Image // never changed

	mu     sync.Mutex // guards the fields below
	pulled map[digest.Digest]time.Time
	// begun has the manifests that are being imported, or were.
	begun map[digest.Digest]*visit
}

// visit is the import of one manifest.
type visit struct {
	over chan struct{} // closed: it is over, and err is set
	err  error
}

// visit imports a manifest, unless another visit does; then it waits for that one. A manifest
// waits only for those that it names, which cannot name it. Errors: ErrAbsent, and those that end
// the import.
func (r *repository) visit(ctx context.Context, d digest.Digest, mediaType string, depth int) error {
	r.mu.Lock()
	v, begun := r.begun[d]
	if !begun {
		v = &visit{over: make(chan struct{})}
		r.begun[d] = v
	}
	r.mu.Unlock()
	if begun {
		select {
		case <-v.over:
			return v.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer close(v.over)
	image, listed := r.listed[d]
	if !listed {
		image = Image{Digest: d, MediaType: mediaType}
	}
	v.err = r.image(ctx, &found{Image: image, listed: listed}, depth)
	return v.err
}
