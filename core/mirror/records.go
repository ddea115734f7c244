package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror/download"
)

// The keys of State. Components that begin with _ are in no repository name.
const (
	checksPrefix    = "mirror/checks/"
	listsPrefix     = "mirror/lists/"
	downloadsPrefix = "mirror/downloads/"
	rightsPrefix    = "mirror/rights/"
	purgesPrefix    = "mirror/purges/"
)

// check records when the upstream last reported what a tag names.
type check struct {
	Digest digest.Digest `json:"digest"`
	Time   time.Time     `json:"time"`
	// Gone is since when the upstream has no such tag, while its last manifest is still served.
	// Zero: the upstream has the tag.
	Gone time.Time `json:"gone,omitzero"`
}

// tagsList and referrersList are lists as the upstream gave them.
type tagsList struct {
	Time time.Time `json:"time"`
	Tags []string  `json:"tags"`
}

type referrersList struct {
	Time      time.Time         `json:"time"`
	Referrers []core.Descriptor `json:"referrers"`
}

// future reports whether a record's time is damaged, or from a clock that was wrong: such a
// record would count as fresh for too long.
func future(t time.Time) bool { return time.Until(t) > clockSkew }

func checkKey(repo, tag string) string { return checksPrefix + repo + "/_tags/" + tag }

func rightsKey(repo string) string { return rightsPrefix + repo + "/_shown" }

func tagsKey(repo string) string { return listsPrefix + repo + "/_tags" }

func referrersKey(repo string, subject digest.Digest) string {
	return listsPrefix + repo + "/_referrers/" + string(subject)
}

// downloadKey contains the mirror's name: two mirrors of one store that download the same blob
// must not write to the same upload. Neither may a hidden repository and another one.
func (m *Mirror) downloadKey(slot download.Slot) string {
	own, hex := m.name, slot.Digest.Encoded()
	if slot.Repo != "" {
		own = "_hidden/" + slot.Repo + "/_blobs"
	}
	return downloadsPrefix + own + "/" + slot.Digest.Algorithm().String() + "/" + hex[:2] + "/" + hex
}

// recall reads a record. A damaged record counts as missing: every record can be learned again.
func recall[T any](ctx context.Context, m *Mirror, key string) (record T, ok bool) {
	data, _, err := m.state.Get(ctx, key)
	if err != nil {
		if !errors.Is(err, bucket.ErrNotExist) && ctx.Err() == nil {
			m.log.Warn("record of the mirror cannot be read", "key", key, "error", err)
		}
		return record, false
	}
	if data, err = unseal(data); err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil {
		m.log.Warn("record of the mirror is damaged", "key", key, "error", err)
		var none T
		return none, false
	}
	return record, true
}

// remember writes a record, which survives a killed process at once and a power cut after a
// while. A failed write does not fail the present request; it costs another request to the
// upstream later.
func (m *Mirror) remember(ctx context.Context, key string, record any) (kept bool) {
	data, err := json.Marshal(record)
	if err == nil {
		_, err = m.state.Put(ctx, key, seal(data), bucket.Condition{})
	}
	if err != nil {
		m.log.Warn("record of the mirror cannot be written", "key", key, "error", err)
	}
	return err == nil
}

func (m *Mirror) forget(ctx context.Context, key string) {
	if err := m.state.Delete(ctx, key); err != nil && !errors.Is(err, bucket.ErrNotExist) {
		m.log.Warn("record of the mirror cannot be removed", "key", key, "error", err)
	}
}
