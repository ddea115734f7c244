// Package evict bounds what the mirrors of one store hold: by the time since a manifest was
// pulled, by the size of each mirror, and by the free space on the disk. Images that were pulled
// longest ago are removed first.
//
// It removes whole images, by their manifests, together with the content that only they need. It
// does not know upstreams, and of mirrors it knows only that they are the first component of a
// repository's name. The records that mirrors keep about manifests are removed through Beside.
//
//	e := evict.New(evict.Config{Local: store, Pulls: pulls, Disk: evict.DiskOf(directory), Beside: beside})
//	defer e.Close()
//	e.SetSettings(evict.Settings{MinFree: evict.DefaultMinFree})
package evict

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/rounds"
	"github.com/eblume/caddy-registry/core/store"
)

// keepInterval is the time between two searches for manifests that were not pulled for long. Each
// search reads every manifest.
const keepInterval = time.Hour

// DefaultKeep is how long after its last pull a manifest is kept. Manifests cannot be pinned; if
// that is added, order leaves out the pinned ones.
const DefaultKeep = 90 * 24 * time.Hour

// Limits bound what one mirror holds.
type Limits struct {
	// Keep is how long after its last pull a manifest is kept. Default 90 days.
	Keep time.Duration
	// MaxSize bounds the content held, in bytes, each blob counted once. Content that was pulled
	// within the grace may exceed it. Zero: only the disk bounds it.
	MaxSize int64
}

// Settings may change while the evictor runs.
type Settings struct {
	// Mirrors are the limits by name. Any other mirror has the default limits.
	Mirrors map[string]Limits
	// MinFree is left free on the disk.
	MinFree MinFree
	// Grace is how long after its pull a manifest is evicted only for MinFree: its blobs may
	// still be arriving. Default: the store's, an hour.
	Grace time.Duration
}

func (s Settings) limits(mirror string) Limits {
	limits := s.Mirrors[mirror]
	if limits.Keep <= 0 {
		limits.Keep = DefaultKeep
	}
	return limits
}

// Store is the sparse store of mirrors. See store.Store.
type Store interface {
	Repositories(ctx context.Context, after string) iter.Seq2[string, error]
	Tags(ctx context.Context, repo, after string) iter.Seq2[string, error]
	Manifests(ctx context.Context, repo string) iter.Seq2[store.Held, error]
	Contents(ctx context.Context) iter.Seq2[store.Content, error]
	Evict(ctx context.Context, repo string, ds ...digest.Digest) (store.Evicted, error)
}

// Beside are the records that mirrors keep about manifests, and that are removed with them:
// mirror.Beside.
type Beside interface {
	// Evicted removes the records of manifests and tags that were evicted. A record that cannot
	// be removed is logged, and overwritten when the manifest is fetched again.
	Evicted(ctx context.Context, repo string, gone store.Evicted)
	// Age removes records that are older than grace at now, and that are not needed any more or
	// older than keep of their repository.
	Age(ctx context.Context, now time.Time, grace time.Duration, keep func(repo string) time.Duration) error
}

// nothing is the Beside without records.
type nothing struct{}

func (nothing) Evicted(context.Context, string, store.Evicted) {}

func (nothing) Age(context.Context, time.Time, time.Duration, func(string) time.Duration) error {
	return nil
}

// Config configures an Evictor. Its parts belong to the caller, who closes them after the
// Evictor.
type Config struct {
	Local Store
	Pulls *pulls.Times
	Disk  Disk // nil: a disk whose space is unknown
	// Beside are the records that mirrors keep about manifests. Default: none.
	Beside Beside
	// Evicted is called after every eviction. Default: no call.
	Evicted func(store.Evicted)
	// Passed is called after each successful pass. Default: no call.
	Passed func()
	// Idle makes an Evictor that says what there is room for, and evicts nothing: that of a
	// command, whose process ends soon.
	Idle bool
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
}

// Evictor evicts in the background. It is the mirror.Keeper of the mirrors of its store, and safe
// for concurrent use.
type Evictor struct {
	Config

	mu       sync.Mutex       // guards the fields below
	settings *Settings        // nil: not known yet
	held     map[string]int64 // by mirror; nil: not measured yet
	full     bool             // eviction could not free enough space
	kept     time.Time        // last search for manifests that were not pulled for long
	next     map[string][]Due // by mirror, what was next in that search
	sought   time.Time        // when next was found

	passing sync.Mutex // held by a pass
	passes  *rounds.Rounds
}

// New makes an Evictor. Its passes run in the background from the first SetSettings on. Close
// ends it.
func New(c Config) *Evictor {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Disk == nil {
		c.Disk = noDisk{}
	}
	if c.Passed == nil {
		c.Passed = func() {}
	}
	if c.Beside == nil {
		c.Beside = nothing{}
	}
	e := &Evictor{Config: c}
	e.passes = rounds.Start(func(ctx context.Context) {
		if c.Idle {
			return
		}
		if err := e.pass(ctx); err != nil && ctx.Err() == nil {
			e.Log.Error("eviction ended early", "error", err)
		}
	})
	return e
}

// SetSettings changes the settings, and has them looked at.
func (e *Evictor) SetSettings(s Settings) {
	if s.Grace <= 0 {
		s.Grace = store.DefaultGrace
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings, e.kept = &s, time.Time{}
	e.passes.Poke()
}

// Close stops the evictor and waits for it.
func (e *Evictor) Close() error {
	e.passes.Close()
	return nil
}

// Held returns how many bytes each mirror holds, as of the last pass plus what was kept since. It
// is nil before the first pass.
func (e *Evictor) Held() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.held)
}

// Keeping reports whether mirrors keep what they fetch. They do not when less than MinFree is
// free and there is nothing left to evict.
func (e *Evictor) Keeping() bool {
	free, total, err := e.Disk.Space()
	e.mu.Lock()
	defer e.mu.Unlock()
	return err != nil || e.settings == nil || !e.full || free >= e.settings.MinFree.Of(total)
}

// pass examines the held content once and evicts what exceeds the limits. A repository that
// cannot be read does not stop the examination of the others.
func (e *Evictor) pass(ctx context.Context) error {
	e.passing.Lock()
	defer e.passing.Unlock()
	e.mu.Lock()
	configured, kept := e.settings, e.kept
	e.mu.Unlock()
	if configured == nil {
		return nil
	}
	settings := *configured
	held, err := e.measure(ctx)
	if err != nil {
		return err
	}
	p := &pass{Evictor: e, settings: settings, now: time.Now(), held: held, lacking: e.lacking(settings)}
	var failed []error
	due := p.now.Sub(kept) >= keepInterval
	if due || p.beyond() {
		failed = p.run(ctx)
	}
	if due {
		keep := func(repo string) time.Duration { return settings.limits(mirrorOf(repo)).Keep }
		if err := p.Beside.Age(ctx, p.now, settings.Grace, keep); err != nil {
			failed = append(failed, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held, e.full = held, p.lacking > 0
	if due {
		e.kept = p.now
	}
	if len(failed) == 0 {
		e.Passed()
	}
	return errors.Join(failed...)
}

// measure sums up what each mirror holds.
func (e *Evictor) measure(ctx context.Context) (map[string]int64, error) {
	held := map[string]int64{}
	for c, err := range e.Local.Contents(ctx) {
		if err != nil {
			return nil, fmt.Errorf("measure what mirrors hold: %w", err)
		}
		last := ""
		for _, repo := range c.Repos { // in order, so a mirror's are together
			if name := mirrorOf(repo); name != last {
				held[name] += c.Size
				last = name
			}
		}
	}
	return held, nil
}

// mirrorOf is the mirror that a repository belongs to.
func mirrorOf(repo string) string {
	name, _, _ := strings.Cut(repo, "/")
	return name
}

// lacking returns how many bytes must be removed for the disk to have the required free space,
// and a tenth more for the next content.
func (e *Evictor) lacking(settings Settings) int64 {
	free, total, err := e.Disk.Space()
	if err != nil {
		return 0 // not known; a writer notices a full disk
	}
	least := settings.MinFree.Of(total)
	if free >= least {
		return 0
	}
	return least + least/10 - free
}

// pass is one run over all that is held.
type pass struct {
	*Evictor
	settings Settings
	now      time.Time
	held     map[string]int64
	lacking  int64
}

// beyond reports whether space must be freed.
func (p *pass) beyond() bool {
	for name := range p.held {
		if p.oversize(name) {
			return true
		}
	}
	return p.lacking > 0
}

func (p *pass) oversize(mirror string) bool {
	most := p.settings.limits(mirror).MaxSize
	return most > 0 && p.held[mirror] > most
}

// run evicts in the order of pulls as long as there is a reason.
func (p *pass) run(ctx context.Context) (failed []error) {
	groups, failed := p.order(ctx)
	left := groups[:0]
	defer func() { p.remember(left) }()
	for _, g := range groups {
		if ctx.Err() != nil {
			return append(failed, context.Cause(ctx))
		}
		age := p.now.Sub(g.pulled)
		name := mirrorOf(g.repo)
		expired := age > p.settings.limits(name).Keep
		pressed := p.lacking > 0
		if !expired && !pressed && !(p.oversize(name) && age > p.settings.Grace) {
			left = append(left, g)
			continue
		}
		if err := p.evict(ctx, g, pressed); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// evict removes a group, unless it was pulled since it was examined: a group that is being pulled
// is removed only when the disk is pressed.
func (p *pass) evict(ctx context.Context, g group, pressed bool) error {
	if !pressed {
		times, err := p.Pulls.Of(ctx, g.repo)
		if err != nil {
			return err
		}
		for _, d := range g.manifests {
			if times[d].After(p.now) {
				return nil
			}
		}
	}
	gone, err := p.Local.Evict(ctx, g.repo, g.manifests...)
	if err != nil && len(gone.Tags)+len(gone.Manifests) == 0 {
		return err
	}
	p.lacking -= gone.Bytes
	name := mirrorOf(g.repo)
	for _, c := range gone.Unlinked {
		if !holds(name, c.Repos) {
			p.held[name] -= c.Size
		}
	}
	p.Beside.Evicted(ctx, g.repo, gone)
	p.Log.Info("evicted", "repository", g.repo, "tags", gone.Tags, "manifests", len(gone.Manifests),
		"bytes", gone.Bytes, "last_pull", g.pulled)
	if p.Evicted != nil {
		p.Evicted(gone)
	}
	return err
}

func holds(mirror string, repos []string) bool {
	for _, repo := range repos {
		if mirrorOf(repo) == mirror {
			return true
		}
	}
	return false
}
