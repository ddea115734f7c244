// Package quota bounds what pushes take: how large a blob may be, how many uploads one
// caller has open, and how much of the disk stays free. It is a Registry in front of a
// store and behind the guard, which puts the caller into the context.
//
//	limited := quota.New(quota.Config{Registry: store, Disk: disk})
//	limited.SetLimits(quota.Limits{Upload: 100 << 30, Uploads: 100, Reserve: 256 << 20})
//
// It keeps nothing on the disk: after a restart earlier uploads have no owner until they
// continue, and the collector ends those that never do. Mirrors do not go through it;
// they leave min_free free.
package quota

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Limits bound pushes. Zero values mean the defaults, negative ones no bound.
type Limits struct {
	// Upload is the largest upload, in bytes.
	Upload int64
	// Uploads is how many uploads one caller may have open: a user, or an anonymous
	// address.
	Uploads int
	// Reserve is the space that pushes leave free on the disk, in bytes. The default is
	// at most a twentieth of the disk.
	Reserve int64
}

// Defaults of Limits.
const (
	// DefaultUpload is larger than the layers of the largest models.
	DefaultUpload = 100 << 30
	// DefaultUploads suffices for twenty clients that push five layers each.
	DefaultUploads = 100
	// DefaultReserve is room for keys, tags, sessions and the index.
	DefaultReserve = 256 << 20
	// reservePart bounds the default reserve on a small disk: the disk's size divided by
	// it.
	reservePart = 20
)

// Disk is the disk on which the registry keeps content.
type Disk interface {
	// Space returns the size of the disk and how much may still be written, in bytes.
	Space() (free, total int64, err error)
}

// Config holds the parts of a Registry.
type Config struct {
	// Registry receives the pushes, and all other requests unchanged.
	Registry core.Registry
	// Disk is the disk of Reserve. If it is nil, nothing is reserved.
	Disk Disk
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Registry bounds pushes. It is safe for concurrent use.
type Registry struct {
	core.Registry
	disk   Disk
	limits atomic.Pointer[Limits]
	seen   atomic.Pointer[space] // nil before the first look
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

// SetLimits changes the limits for all later requests and for the uploads that are under
// way.
func (q *Registry) SetLimits(l Limits) {
	if l.Upload == 0 {
		l.Upload = DefaultUpload
	}
	if l.Uploads == 0 {
		l.Uploads = DefaultUploads
	}
	q.limits.Store(&l)
}

// AdmitManifest implements core.Admitter. Errors also: core.ErrNoSpace.
func (q *Registry) AdmitManifest(ctx context.Context, repo string) error {
	if err := q.Room(0); err != nil {
		return err
	}
	return core.AdmitManifest(ctx, q.Registry, repo)
}

// PutManifest implements core.Writer. Errors also: core.ErrNoSpace when the free space
// is below the reserve.
func (q *Registry) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	if err := q.Room(int64(len(put.Bytes))); err != nil {
		return core.ManifestResult{}, err
	}
	return q.Registry.PutManifest(ctx, repo, put)
}

// NewUpload implements core.Writer. If the caller has as many uploads as allowed, its
// oldest idle one is dropped. Errors also: core.ErrTooManyRequests when none has been
// idle long enough, core.ErrNoSpace.
func (q *Registry) NewUpload(ctx context.Context, repo string, algorithm digest.Algorithm) (core.Upload, error) {
	if err := q.Room(0); err != nil {
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
