// Package quota bounds what pushes take: how large a blob may be, how many uploads one
// caller has open, and how much of the disk stays free. It is a Registry in front of a
// store, behind the guard, which puts into the context who is asking.
//
//	limited := quota.New(quota.Config{Registry: store, Disk: disk})
//	limited.SetLimits(quota.Limits{Upload: 100 << 30, Uploads: 100, Reserve: 256 << 20})
//
// It keeps nothing on the disk: after a restart the uploads of before have no owner until
// they go on, and the collector ends those that never do. Mirrors do not go through it;
// they leave free what min_free says.
package quota

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Limits are what pushes may take. Zero values mean the defaults; negative, no bound.
type Limits struct {
	// Upload is the largest upload, in bytes.
	Upload int64
	// Uploads is how many uploads one caller has open: a user, or an anonymous address.
	Uploads int
	// Reserve is what pushes leave free on the disk, in bytes. The default is at most a
	// twentieth of the disk.
	Reserve int64
}

// Defaults of Limits.
const (
	// DefaultUpload is more than the layers of the largest models have.
	DefaultUpload = 100 << 30
	// DefaultUploads is what twenty clients have that push five layers each.
	DefaultUploads = 100
	// DefaultReserve is room for keys, tags, sessions and the index.
	DefaultReserve = 256 << 20
	// reservePart bounds the default reserve on a small disk: one part in so many.
	reservePart = 20
)

// Disk is where the registry keeps content.
type Disk interface {
	// Space is what the disk has and what of it may be written yet, in bytes.
	Space() (free, total int64, err error)
}

// Config is what a Registry is made of.
type Config struct {
	// Registry is where pushes go. Everything else is asked of it unchanged.
	Registry core.Registry
	// Disk is what Reserve is about. nil: nothing is known of it, and nothing reserved.
	Disk Disk
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Registry bounds pushes. It is safe for concurrent use.
type Registry struct {
	core.Registry
	disk   Disk
	limits atomic.Pointer[Limits]
	ledger ledger
}

var (
	_ core.Registry = (*Registry)(nil)
	_ core.Admitter = (*Registry)(nil)
)

// New makes a Registry with the default limits.
func New(c Config) *Registry {
	if c.Now == nil {
		c.Now = time.Now
	}
	q := &Registry{Registry: c.Registry, disk: c.Disk, ledger: ledger{now: c.Now, open: map[string][]*entry{}, byID: map[string]*entry{}}}
	q.SetLimits(Limits{})
	return q
}

// SetLimits changes the limits for every request from now on, and for the uploads that
// are under way.
func (q *Registry) SetLimits(l Limits) {
	if l.Upload == 0 {
		l.Upload = DefaultUpload
	}
	if l.Uploads == 0 {
		l.Uploads = DefaultUploads
	}
	q.limits.Store(&l)
}

// Room returns core.ErrNoSpace while the disk is in its reserve, so that no push has room.
func (q *Registry) Room() error { return q.room(0) }

// AdmitManifest implements core.Admitter. Errors also: core.ErrNoSpace.
func (q *Registry) AdmitManifest(ctx context.Context, repo string) error {
	if err := q.room(0); err != nil {
		return err
	}
	return core.AdmitManifest(ctx, q.Registry, repo)
}

// PutManifest implements core.Writer. Errors also: core.ErrNoSpace when the disk is in
// its reserve.
func (q *Registry) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	if err := q.room(int64(len(put.Bytes))); err != nil {
		return core.ManifestResult{}, err
	}
	return q.Registry.PutManifest(ctx, repo, put)
}

// NewUpload implements core.Writer. Of a caller who has as many uploads as it may, the
// oldest is dropped that has been idle. Errors also: core.ErrTooManyRequests when none
// has been idle long enough, core.ErrNoSpace.
func (q *Registry) NewUpload(ctx context.Context, repo string, algorithm digest.Algorithm) (core.Upload, error) {
	if err := q.room(0); err != nil {
		return nil, err
	}
	e, err := q.admit(ctx, repo)
	if err != nil {
		return nil, err
	}
	u, err := q.Registry.NewUpload(ctx, repo, algorithm)
	if err != nil {
		q.ledger.forget(e)
		return nil, err
	}
	q.ledger.name(e, u.ID())
	return &upload{Upload: u, quota: q, entry: e}, nil
}

// Upload implements core.Writer.
func (q *Registry) Upload(ctx context.Context, repo, id string) (core.Upload, error) {
	u, err := q.Registry.Upload(ctx, repo, id)
	if err != nil {
		return nil, err
	}
	return &upload{Upload: u, quota: q, entry: q.ledger.find(core.AccessFrom(ctx).Principal(), repo, id)}, nil
}
