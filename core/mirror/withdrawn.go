package mirror

import (
	"context"
	"encoding/json"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Entries of other processes from before a purge of the repository are not trusted.
// The time of the purge is in three places: in memory, for this process; in the store,
// for the time after a restart, and for a purge while no process ran; and with the
// shared entries, for other processes. Entries do not live longer than
// sharedManifestAge, so the time of a purge need not either.

// withdrawal is when a repository was purged last.
type withdrawal struct {
	Time time.Time `json:"time"`
}

func purgedKey(repo string) string { return purgesPrefix + repo + "/_purged" }

// withdraw keeps the time of a purge in the store.
func withdraw(ctx context.Context, state bucket.Bucket, repo string, at time.Time) error {
	data, err := json.Marshal(withdrawal{at.UTC()})
	if err != nil {
		return err
	}
	_, err = state.Put(ctx, purgedKey(repo), seal(data), bucket.Condition{})
	return err
}

func (m *Mirror) withdrawalKey(repo string) string { return "purged/" + m.audience + "/" + repo }

// unshare withdraws what was shared about a tag, a manifest, or, with an empty ref, a repository.
// From then on, this process ignores what other processes learned before.
func (m *Mirror) unshare(ctx context.Context, repo string, ref core.Reference) {
	if m.shared == nil {
		return
	}
	now := time.Now()
	switch {
	case ref.Digest != "":
		m.unshared.set(nounOf(repo, ref), now)
		m.shared.Delete(ctx, m.manifestKey(repo, ref.Digest))
	case ref.Tag != "":
		m.unshared.set(nounOf(repo, ref), now)
		m.shared.Delete(ctx, m.tagKey(repo, ref.Tag))
	default:
		m.unshared.set(repo, now)
		if value, err := json.Marshal(withdrawal{now.UTC()}); err == nil {
			m.shared.Put(ctx, m.withdrawalKey(repo), value, sharedManifestAge)
		}
	}
}

// withdrawn returns when shared answers about ref were last withdrawn, here or by another
// process; the zero time: never.
func (m *Mirror) withdrawn(ctx context.Context, repo string, ref core.Reference) time.Time {
	at := m.withdrawnHere(ctx, repo)
	if of, ok := m.unshared.get(nounOf(repo, ref)); ok && of.After(at) {
		at = of
	}
	var told withdrawal
	if value, ok := m.shared.Get(ctx, m.withdrawalKey(repo)); ok && json.Unmarshal(value, &told) == nil && told.Time.After(at) {
		at = told.Time
	}
	return at
}

// withdrawnHere returns when this storage's copy was last purged. Only this process writes to the
// storage, and its mirrors share their memory, so the record is read only once.
func (m *Mirror) withdrawnHere(ctx context.Context, repo string) time.Time {
	at, ok, put := m.unshared.look(repo)
	if ok {
		return at
	}
	last, ok := recall[withdrawal](ctx, m, purgedKey(repo))
	switch {
	case ok && time.Since(last.Time) > sharedManifestAge:
		m.forget(ctx, purgedKey(repo)) // everything is younger
		last = withdrawal{}
	case !ok && ctx.Err() != nil:
		return time.Time{} // it was not read
	}
	put(last.Time)
	return last.Time
}

// purgedNow records a purge of ref before anything is removed: from now on, requests ignore
// shared answers from before the purge.
func (m *Mirror) purgedNow(ctx context.Context, repo string, ref core.Reference) {
	now := time.Now()
	m.unshare(ctx, repo, ref)
	m.unshared.set(repo, now)
}
