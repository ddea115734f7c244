package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sync/semaphore"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Store is a Registry over a Bucket. Open makes one; it is safe for concurrent use.
type Store struct {
	core.Catalog // answered by the projection; Unimplemented without one

	bucket     bucket.Bucket
	names      Names
	projection Projection                                                                  // or nil
	pullsOf    func(ctx context.Context, repo string) iter.Seq2[Change, error]             // or nil
	lastPulled func(ctx context.Context, repo string) (map[digest.Digest]time.Time, error) // or nil
	sparse     bool                                                                        // see Config
	log        *slog.Logger
	now        func() time.Time
	started    time.Time

	repos   repositories
	digests stripes // shared by keepContent, exclusive while content is dropped
	tags    stripes // one tag's record and its row in the names change together
	links   stripes // one manifest's record is read and written again; taken after a tag's
	stamps  stamps
	cache   *cache
	uploads uploads
	grace   grace
	owed    owed
	damage  *damage
	reading *semaphore.Weighted // bytes of large manifests; see maxReading
	// converted is when the storage was converted to this layout.
	converted time.Time
	full      atomic.Bool // a write met a full disk since the last collection

	settings atomic.Pointer[Settings]

	rebuilding sync.Mutex // held by a rebuild of the names
	describing sync.Mutex // held while the projection is filled
	collecting sync.Mutex // held by a collection
	stop       context.CancelFunc
	background sync.WaitGroup
}

var _ core.Registry = (*Store)(nil)

// Defaults of Settings.
const (
	DefaultGrace     = time.Hour
	DefaultUploadAge = 24 * time.Hour
	DefaultCacheSize = 64 << 20
	// KeepUntagged is the value of Untagged that keeps untagged manifests forever.
	KeepUntagged = time.Duration(-1)
)

// Settings may change while a Store is open. Zero values mean the defaults.
type Settings struct {
	// Grace is how long content that no manifest needs is kept, counted from its upload or from
	// the last time its existence was reported to a client. Default 1h.
	Grace time.Duration
	// Untagged is the age at which a manifest that no tag, kept index or kept subject
	// reaches may be removed. It counts from the latest of its push, the moment when the
	// last tag left it, and its last pull. Negative keeps them. Default (zero): keep.
	Untagged time.Duration
	// UploadAge is how long an upload is kept since its last byte. Default 24h.
	UploadAge time.Duration
	// CacheSize bounds the manifests in memory, in bytes. Default 64 MiB.
	CacheSize int64
}

func (s Settings) withDefaults() Settings {
	if s.Grace <= 0 {
		s.Grace = DefaultGrace
	}
	if s.Untagged == 0 {
		s.Untagged = KeepUntagged
	}
	if s.UploadAge <= 0 {
		s.UploadAge = DefaultUploadAge
	}
	if s.CacheSize <= 0 {
		s.CacheSize = DefaultCacheSize
	}
	return s
}

// Config configures a Store.
type Config struct {
	// Names answer lists, usually from an index.Index. The store closes them, also when Open
	// fails.
	Names Names
	// Projection answers the store's Catalog. It may be the same value as Names; if not, it is
	// the caller's to close, after the store. Default: none, and a Catalog is refused.
	Projection Projection
	// PullsOf yields the pulls of a repository for the projection, as PullsRead. Default: none.
	PullsOf func(ctx context.Context, repo string) iter.Seq2[Change, error]
	// Pulled returns when the manifests of a repository were last pulled. Default: no pulls
	// are known.
	Pulled func(ctx context.Context, repo string) (map[digest.Digest]time.Time, error)
	// Sparse accepts manifests whose blobs are not stored, or do not match the manifest: a
	// mirror holds what was requested, and the upstream vouches for the rest.
	Sparse   bool
	Settings Settings
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Open opens the store that b holds. If its names are not Ready, they are built again in the
// background, and lists scan the bucket until then. ctx bounds the opening only. Close ends
// the store; b belongs to the caller.
func Open(ctx context.Context, b bucket.Bucket, c Config) (*Store, error) {
	if c.Names == nil {
		return nil, errors.New("open store: it needs names")
	}
	s, err := newStore(b, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), c.Names.Close())
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if err := s.convert(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
	}
	s.background.Go(func() {
		if !s.names.Ready() {
			s.rebuild(life)
		}
		s.describeHeld(life)
	})
	return s, nil
}

func newStore(b bucket.Bucket, c Config) (*Store, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sparse {
		if err := mirrorable(b); err != nil {
			return nil, err
		}
	}
	settings := c.Settings.withDefaults()
	manifests, err := newCache(settings.CacheSize)
	if err != nil {
		return nil, err
	}
	known, err := newDamage()
	if err != nil {
		return nil, err
	}
	s := &Store{
		bucket: b, names: c.Names, lastPulled: c.Pulled, sparse: c.Sparse, log: c.Log, now: c.Now, started: c.Now(),
		cache: manifests, damage: known, reading: semaphore.NewWeighted(maxReading),
		Catalog: core.Unimplemented{}, projection: c.Projection, pullsOf: c.PullsOf,
	}
	if c.Projection != nil {
		s.Catalog = c.Projection
	}
	s.settings.Store(&settings)
	return s, nil
}

// mirrorable returns an error if the bucket lacks an ability that a sparse store needs. The
// other abilities are optional: without them an upload whose digest a restart lost begins
// again, and a write is durable at once.
func mirrorable(b bucket.Bucket) error {
	if _, ok := b.(bucket.FollowUpload); !ok {
		return errors.New("a mirror serves downloads while they grow, and this storage cannot read unfinished uploads; keep mirrors on a local disk")
	}
	if _, ok := b.(bucket.OpenAfterDelete); !ok {
		return errors.New("a mirror evicts what is being read, and this storage ends such reads; keep mirrors on a local disk")
	}
	return nil
}

// SetSettings changes the settings.
func (s *Store) SetSettings(settings Settings) {
	settings = settings.withDefaults()
	s.cache.resize(settings.CacheSize)
	s.settings.Store(&settings)
}

// Close waits for background work and closes the names. No other method may be called
// after it.
func (s *Store) Close() error {
	s.stop()
	s.uploads.close()
	s.background.Wait()
	s.cache.close()
	s.damage.close()
	return s.names.Close()
}

// rebuild fills the names from the bucket. Only one runs at a time.
func (s *Store) rebuild(ctx context.Context) {
	if !s.rebuilding.TryLock() {
		return
	}
	defer s.rebuilding.Unlock()
	begun := s.now()
	if err := s.names.Rebuild(ctx, s.scan(ctx)); err != nil {
		if ctx.Err() == nil {
			s.log.Error("index was not rebuilt; lists scan the storage until the next collection or start", "error", err)
		}
		return
	}
	s.log.Info("index rebuilt", "took", s.now().Sub(begun))
}

// project handles the outcome of a write to the names. They are only a projection, so a
// failed write (the disk is full, say) does not fail the push: the names are not used until
// the next collection has rebuilt them.
func (s *Store) project(err error) {
	if err == nil || errors.Is(err, ErrDamaged) { // already reported
		return
	}
	s.log.Error("index cannot be used; lists scan the storage until it is rebuilt", "error", err)
	s.names.Distrust()
}
