package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/mirror/download"
	"github.com/eblume/caddy-registry/core/upstream"
)

// Upstream is the registry that a mirror asks. It is implemented by *upstream.Client, and its
// errors are those of package upstream.
type Upstream interface {
	// Head and Manifest ask for a manifest.
	Head(ctx context.Context, repo string, ref core.Reference) (upstream.Answer, error)
	Manifest(ctx context.Context, repo string, ref core.Reference) (upstream.Answer, error)

	// Blob, Range and Attest ask for a blob: from an offset, for a part, and whether it exists.
	Blob(ctx context.Context, repo string, d digest.Digest, offset, expected int64) (
		body io.ReadCloser, size int64, err error)
	Range(ctx context.Context, repo string, d digest.Digest, offset, length, size int64) (io.ReadCloser, error)
	Attest(ctx context.Context, repo string, d digest.Digest, want int64) (size int64, err error)

	// Tags and Referrers ask for a whole list.
	Tags(ctx context.Context, repo string) ([]string, error)
	Referrers(ctx context.Context, repo string, d digest.Digest) ([]core.Descriptor, error)
}

// Defaults of Settings.
const (
	DefaultTTL         = 5 * time.Minute
	DefaultMaxStale    = 30 * 24 * time.Hour
	DefaultNotFoundTTL = 10 * time.Second
)

// Settings may change while the mirror serves. Zero values mean the defaults.
type Settings struct {
	// TTL is how long a tag or a list is trusted without asking. Default 5m.
	TTL time.Duration
	// MaxStale is how long after its last check a tag or a list may be served while
	// the upstream cannot be asked. Default 30 days.
	MaxStale time.Duration
	// NotFoundTTL is how long "not found" is remembered, in memory. Default 10s.
	NotFoundTTL time.Duration
	// DropGone ends a held tag with the upstream's 404. Default: it is served on, with a
	// warning, while the upstream lets anonymous callers into its repository.
	DropGone bool
	// Allow and Deny are patterns of canonical names, such as docker.io/library/**. Names that
	// Deny matches, and with an Allow names that it does not match, are not served at all:
	// neither from the upstream nor from what is held. Default: everything is allowed.
	Allow, Deny globs.Globs
	// PushTo is where to push instead, such as "blumeops/**". The error of a refused push names
	// it. Default: "a name outside the mirrors".
	PushTo string
}

// AnyOther is the PushTo of a configuration that does not say which names are private.
const AnyOther = "a name outside the mirrors"

func (s Settings) withDefaults() Settings {
	if s.TTL <= 0 {
		s.TTL = DefaultTTL
	}
	if s.MaxStale <= 0 {
		s.MaxStale = DefaultMaxStale
	}
	if s.NotFoundTTL <= 0 {
		s.NotFoundTTL = DefaultNotFoundTTL
	}
	if s.PushTo == "" {
		s.PushTo = AnyOther
	}
	return s
}

// Config configures a Mirror.
type Config struct {
	// Name is the first component of the mirror's repositories, as docker.io.
	Name string
	// Local keeps what is fetched: a store opened with store.Config.Sparse. Several
	// mirrors may share it. It belongs to the caller, who closes it after the mirror.
	Local core.Registry
	// State keeps the times of checks and the unfinished downloads, under the key prefix
	// "mirror/". It is usually the bucket below Local. Mirrors over one State share what they
	// remember of its records; all of them are given the same value, which must be comparable.
	State bucket.Bucket
	// Upstream is asked for what is not held. If it has credentials, it must be an
	// *upstream.Client, or like it be able to ask without them (see rights.go).
	Upstream Upstream
	// Keeper decides what is kept, and records pulls. Default: everything is kept.
	Keeper Keeper
	// Shared shares answers of the same upstream with other processes. Default: none.
	Shared Shared
	// Audience identifies the upstream and the identity with which it is asked. Mirrors share
	// only answers that they could have received themselves. It is opaque, without secrets.
	Audience string
	Settings Settings
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
}

// Mirror is one upstream's content as a Registry. It is safe for concurrent use.
type Mirror struct {
	core.Unimplemented
	name     string
	local    core.Registry
	state    bucket.Bucket
	upstream Upstream
	keeper   Keeper
	shared   Shared // nil: none
	audience string
	log      *slog.Logger
	settings atomic.Pointer[Settings]

	nobody       Upstream // asked without credentials
	credentialed bool     // upstream is asked with some
	stretched    atomic.Bool

	flights   singleflight.Group
	common    *common                  // of the mirrors of state; it has the next four
	checks    *memo[string, check]     // by check key: what State has
	unshared  *memo[string, time.Time] // by what was withdrawn: what others learned before that time is ignored
	rights    *memo[string, knownRights]
	lists     *weighed[list]
	empty     *memo[string, time.Time] // by key of a list: since when it is empty
	absent    *memo[string, time.Time] // by repository and reference: not found until
	sizes     *memo[blobID, guess]     // of blobs, from the manifests that list them
	listed    *memo[blobID, struct{}]  // manifests whose sizes are in sizes
	surveyed  *memo[string, struct{}]  // repositories whose manifests are in listed
	downloads *download.Downloads
	behind    behind

	life       context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup // requests that outlive their caller, and queued writes to the store
}

var _ core.Registry = (*Mirror)(nil)

// Bounds of what is remembered in memory, in entries of a few hundred bytes. A dropped entry
// costs one more read of the disk, or one more request to the upstream.
const (
	maxChecks = 1 << 16
	// If an entry is dropped, an answer that another process learned before a purge can be served
	// until its ttl is over.
	maxUnshared = 1 << 14
	maxAbsent   = 1 << 14 // clients choose these names
	maxSizes    = 1 << 16
	maxListed   = 1 << 13
)

// New makes a mirror. It sends no requests: a mirror starts without its upstream. Close ends it.
func New(c Config) (*Mirror, error) {
	if name, err := core.ParseName(c.Name); err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("mirror %q: the name of a mirror is one component of a repository name", c.Name)
	}
	if c.Local == nil || c.State == nil || c.Upstream == nil {
		return nil, errors.New("mirror " + c.Name + ": it needs a store, a bucket and an upstream")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Keeper == nil {
		c.Keeper = everything{}
	}
	m := &Mirror{
		name: c.Name, local: c.Local, state: c.State, upstream: c.Upstream, keeper: c.Keeper,
		log:    c.Log.With("mirror", c.Name),
		shared: c.Shared, audience: c.Audience,
		absent: newMemo[string, time.Time](maxAbsent),
		empty:  newMemo[string, time.Time](maxEmpty),
		sizes:  newMemo[blobID, guess](maxSizes),
		listed: newMemo[blobID, struct{}](maxListed),

		surveyed: newMemo[string, struct{}](maxListed),
	}
	m.common = joinCommon(m)
	m.checks, m.unshared, m.rights, m.lists = m.common.checks, m.common.unshared, m.common.rights, m.common.lists
	m.nobody, m.credentialed = anonymous(c.Upstream)
	m.life, m.stop = context.WithCancel(context.Background())
	m.downloads = download.New(download.Config{
		Name: m.name, Store: m.local, Source: source{m}, Keeper: m.keeper, Log: m.log,
		Scratch: m.common.scratch, Budget: m.common.ahead,
	})
	m.SetSettings(c.Settings)
	return m, nil
}

// SetSettings changes the settings of a mirror that serves.
func (m *Mirror) SetSettings(s Settings) {
	s = s.withDefaults()
	m.settings.Store(&s)
}

// Close stops the background work and waits for it. Readers that follow a download get an error;
// the next mirror continues the download.
func (m *Mirror) Close() error {
	m.stop()
	m.downloads.Close()
	m.background.Wait()
	leaveCommon(m)
	return nil
}

// remote is the upstream's name of a repository. Errors: core.ErrNameUnknown.
func (m *Mirror) remote(repo string) (string, error) {
	remote, ok := strings.CutPrefix(repo, m.name+"/")
	if !ok || remote == "" {
		return "", fmt.Errorf("%w: %s is not of the mirror %s", core.ErrNameUnknown, repo, m.name)
	}
	return remote, nil
}

// reads is remote for a read: it also refuses names that Allow and Deny, or the upstream's rights
// as far as they are known, withhold from the caller. seen holds these rights for the rest of the
// request. Errors: ErrNameUnknown; ErrDenied for a name that is not allowed; those of hide.
func (m *Mirror) reads(ctx context.Context, repo string) (remote string, seen *view, err error) {
	if remote, err = m.remote(repo); err != nil {
		return "", nil, err
	}
	if !m.allows(repo) {
		return "", nil, m.notAllowed(repo)
	}
	seen = m.viewOf(repo)
	return remote, seen, m.hides(ctx, seen)
}

func (m *Mirror) allows(repo string) bool {
	s := m.settings.Load()
	return !s.Deny.Match(repo) && (len(s.Allow) == 0 || s.Allow.Match(repo))
}
