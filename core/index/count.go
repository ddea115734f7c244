package index

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

func pullsKey(repo string, d digest.Digest, tag string) []byte {
	if tag != "" {
		return in(repo, []byte("t"), []byte(tag))
	}
	return in(repo, []byte("d"), pack(d))
}

// countPulls counts pulls of a tag or of a manifest. Those of what is not held are not counted:
// it is gone, or a mirror did not keep it.
func (a *applying) countPulls(c *store.Change) error {
	held, order, id := statesBucket, tagsPulledBucket, []byte(c.Tag)
	if c.Tag == "" {
		held, order, id = imagesBucket, imagesPulledBucket, pack(c.Digest)
	}
	if get(a.tx, held, in(c.Repo, id)) == nil {
		return nil
	}
	k := pullsKey(c.Repo, c.Digest, c.Tag)
	old, _ := read[core.PullCount](a.tx, pullsBucket, k)
	now := c.Pulls
	if c.Event == store.Pulled {
		now.N += old.N
	}
	now = now.Later(old)
	if c.Tag == "" {
		a.sums(c.Repo).Pulls.N += now.N - old.N
	}
	return all(
		func() error { return a.drop(order, in(c.Repo, newestFirst(old.Last), id)) },
		func() error { return a.put(order, in(c.Repo, newestFirst(now.Last), id), nil) },
		func() error { return a.put(pullsBucket, k, encoded(now)) },
	)
}

// countDays counts the pulls of days. Those of a repository that holds nothing are not counted.
func (a *applying) countDays(c *store.Change) error {
	if a.sums(c.Repo).empty() {
		return nil
	}
	k := []byte(c.Repo)
	now := map[string]int64{}
	if c.Event == store.PulledOn {
		if old, known := read[map[string]int64](a.tx, daysBucket, k); known {
			now = old
		}
	}
	for day, n := range c.Days {
		now[day] += n
	}
	days := slices.Sorted(maps.Keys(now))
	for _, day := range days[:max(0, len(days)-core.MaxPullDays)] {
		delete(now, day)
	}
	return a.put(daysBucket, k, encoded(now))
}
