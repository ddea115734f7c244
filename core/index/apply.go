package index

import (
	"bytes"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// applying is a transaction that applies changes. The catalog's rows are a function of what the
// repositories hold: whatever the order of the changes was, the same content makes the same rows.
type applying struct {
	x  *Index
	tx *bbolt.Tx
	// repos are the sums of the repositories that were changed, as they were and as they will be.
	repos map[string]*sumsChange
	// counts are how many more rows each bucket will have.
	counts map[string]int
	// again: a scan of the whole store is applied. What was changed since it began is newer.
	again bool
}

type sumsChange struct{ before, now sums }

// maxWeight bounds the changes of one transaction, by what weight says: a few thousand rows.
const maxWeight = 2000

func weight(c *store.Change) int { return 1 + len(c.Named) }

// apply changes the rows, in as many transactions as it takes.
func (x *Index) apply(changes []store.Change, again bool) error {
	for len(changes) > 0 {
		n, heavy := 1, weight(&changes[0])
		for n < len(changes) && heavy+weight(&changes[n]) <= maxWeight {
			heavy += weight(&changes[n])
			n++
		}
		if err := x.applyAtOnce(changes[:n], again); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

func (x *Index) applyAtOnce(changes []store.Change, again bool) error {
	return x.update(func(tx *bbolt.Tx) error {
		a := &applying{x: x, tx: tx, repos: map[string]*sumsChange{}, counts: map[string]int{}, again: again}
		for i := range changes {
			if err := a.change(&changes[i]); err != nil {
				return err
			}
		}
		return a.finish()
	})
}

// change applies one change.
func (a *applying) change(c *store.Change) error {
	if a.superseded(c) {
		return nil
	}
	switch c.Event {
	case store.ImageHeld:
		return a.holdImage(c)
	case store.ImageGone:
		return a.dropImage(c.Repo, c.Digest)
	case store.TagSet:
		return a.setTag(c)
	case store.TagGone:
		return a.dropTag(c.Repo, c.Tag)
	case store.BlobLinked:
		return a.hold(c.Repo, c.Digest, func(h *holding) { h.blob, h.size = true, c.Size })
	case store.BlobUnlinked:
		return a.hold(c.Repo, c.Digest, func(h *holding) { h.blob = false })
	case store.Pulled, store.PullsRead:
		return a.countPulls(c)
	case store.PulledOn, store.DaysRead:
		return a.countDays(c)
	}
	return nil
}

// superseded reports whether a scan's change is older than what is known, and remembers what
// goes while one runs.
func (a *applying) superseded(c *store.Change) bool {
	if a.x.gone == nil {
		return false
	}
	id := string(c.Digest)
	switch c.Event {
	case store.TagSet, store.TagGone:
		id = "t" + c.Tag
	case store.BlobLinked, store.BlobUnlinked:
		id = "b" + id
	case store.Pulled, store.PullsRead, store.PulledOn, store.DaysRead:
		return false
	}
	id = c.Repo + "\x00" + id
	if a.again {
		_, gone := a.x.gone[id]
		return gone || a.known(c)
	}
	switch c.Event {
	case store.ImageGone, store.TagGone, store.BlobUnlinked:
		a.x.gone[id] = struct{}{}
	default:
		delete(a.x.gone, id)
	}
	return false
}

// known reports whether the rows have what a scan has found.
func (a *applying) known(c *store.Change) bool {
	switch c.Event {
	case store.ImageHeld:
		return get(a.tx, imagesBucket, in(c.Repo, pack(c.Digest))) != nil
	case store.TagSet:
		return get(a.tx, statesBucket, key(c.Repo, c.Tag)) != nil
	}
	return unpackHolding(get(a.tx, contentBucket, append(pack(c.Digest), c.Repo...))).blob
}

func (a *applying) put(bucket, key, value []byte) error {
	b := a.tx.Bucket(bucket)
	if b.Get(key) == nil {
		a.counts[string(bucket)]++
	}
	return b.Put(key, row(key, value))
}

func (a *applying) drop(bucket, key []byte) error {
	b := a.tx.Bucket(bucket)
	if b.Get(key) == nil {
		return nil
	}
	a.counts[string(bucket)]--
	return b.Delete(key)
}

// all runs steps until one fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *applying) sums(repo string) *sums {
	c := a.repos[repo]
	if c == nil {
		held, _ := read[sums](a.tx, sumsBucket, []byte(repo))
		c = &sumsChange{held, held}
		a.repos[repo] = c
	}
	return &c.now
}

// holdImage writes the rows of a manifest. The content of a digest never changes, so what it
// names is written once.
func (a *applying) holdImage(c *store.Change) error {
	id := pack(c.Digest)
	k := in(c.Repo, id)
	old, known := read[core.ImageFacts](a.tx, imagesBucket, k)
	if known {
		if err := a.drop(imagesPushedBucket, in(c.Repo, newestFirst(old.Pushed), id)); err != nil {
			return err
		}
	} else {
		a.sums(c.Repo).Manifests++
		var names []byte
		for _, named := range c.Named {
			names = append(names, pack(named)...)
			if err := a.put(usersBucket, in(c.Repo, pack(named), id), nil); err != nil {
				return err
			}
		}
		if c.More {
			if err := a.put(usersBucket, in(c.Repo, pack(core.Unlisted), id), nil); err != nil {
				return err
			}
		}
		if err := a.put(namedBucket, k, names); err != nil {
			return err
		}
	}
	return all(
		func() error { return a.put(imagesBucket, k, encoded(c.Image)) },
		func() error { return a.put(imagesPushedBucket, in(c.Repo, newestFirst(c.Image.Pushed), id), nil) },
		func() error {
			return a.hold(c.Repo, c.Digest, func(h *holding) { h.manifest, h.size = true, c.Image.Size })
		},
	)
}

func (a *applying) dropImage(repo string, d digest.Digest) error {
	id := pack(d)
	k := in(repo, id)
	old, known := read[core.ImageFacts](a.tx, imagesBucket, k)
	if !known {
		return nil
	}
	s := a.sums(repo)
	s.Manifests--
	for named, rest := unpack(get(a.tx, namedBucket, k)); named != ""; named, rest = unpack(rest) {
		if err := a.drop(usersBucket, in(repo, pack(named), id)); err != nil {
			return err
		}
	}
	pulls, pulled := read[core.PullCount](a.tx, pullsBucket, pullsKey(repo, d, ""))
	if pulled {
		s.Pulls.N -= pulls.N
	}
	return all(
		func() error { return a.drop(usersBucket, in(repo, pack(core.Unlisted), id)) },
		func() error { return a.drop(namedBucket, k) },
		func() error { return a.drop(imagesBucket, k) },
		func() error { return a.drop(imagesPushedBucket, in(repo, newestFirst(old.Pushed), id)) },
		func() error { return a.drop(imagesPulledBucket, in(repo, newestFirst(pulls.Last), id)) },
		func() error { return a.drop(pullsBucket, pullsKey(repo, d, "")) },
		func() error { return a.hold(repo, d, func(h *holding) { h.manifest = false }) },
	)
}

// hold changes how a repository holds content, and who else does.
func (a *applying) hold(repo string, d digest.Digest, change func(*holding)) error {
	id := pack(d)
	k := append(id, repo...)
	old := unpackHolding(get(a.tx, contentBucket, k))
	now := old
	change(&now)
	if now == old {
		return nil
	}
	held, holds := old.blob || old.manifest, now.blob || now.manifest
	others, size := a.holders(id, repo)
	if held {
		s := a.sums(repo)
		s.Bytes -= old.size
		if len(others) == 0 {
			s.OnlyHere -= old.size
		}
	}
	if holds {
		s := a.sums(repo)
		s.Bytes += now.size
		if len(others) == 0 {
			s.OnlyHere += now.size
		}
	}
	if len(others) == 1 && held != holds { // the other one has it alone before or after
		if s := a.sums(others[0]); held {
			s.OnlyHere += size
		} else {
			s.OnlyHere -= size
		}
	}
	if !holds {
		return a.drop(contentBucket, k)
	}
	return a.put(contentBucket, k, now.pack())
}

// holders returns the other repositories that hold content, at most two, and the size that the
// first of them knows.
func (a *applying) holders(id []byte, but string) (others []string, size int64) {
	c := rows(a.tx, contentBucket)
	for k, v := c.seek(id); bytes.HasPrefix(k, id) && len(others) < 2; k, v = c.next() {
		if repo := string(k[len(id):]); repo != but {
			if others = append(others, repo); len(others) == 1 {
				size = unpackHolding(v).size
			}
		}
	}
	return others, size
}

func (a *applying) setTag(c *store.Change) error {
	k := key(c.Repo, c.Tag)
	old, known := read[tagStates](a.tx, statesBucket, k)
	tag := []byte(c.Tag)
	if known {
		if err := all(
			func() error { return a.drop(tagsPushedBucket, in(c.Repo, newestFirst(old.Since), tag)) },
			func() error { return a.drop(aliasesBucket, in(c.Repo, pack(old.Digest), tag)) },
		); err != nil {
			return err
		}
	} else {
		a.sums(c.Repo).Tags++
		if err := all(
			func() error { return a.put(versionsBucket, in(c.Repo, versionFirst(c.Tag), tag), nil) },
			func() error { return a.put(tagsPulledBucket, in(c.Repo, newestFirst(time.Time{}), tag), nil) },
		); err != nil {
			return err
		}
	}
	a.sums(c.Repo) // what the tag names may be the newest
	return all(
		func() error { return a.put(statesBucket, k, encoded(tagStates{c.State, c.Before})) },
		func() error { return a.put(tagsPushedBucket, in(c.Repo, newestFirst(c.State.Since), tag), nil) },
		func() error { return a.put(aliasesBucket, in(c.Repo, pack(c.State.Digest), tag), nil) },
	)
}

func (a *applying) dropTag(repo, name string) error {
	k := key(repo, name)
	old, known := read[tagStates](a.tx, statesBucket, k)
	if !known {
		return nil
	}
	a.sums(repo).Tags--
	tag := []byte(name)
	pulls, _ := read[core.PullCount](a.tx, pullsBucket, pullsKey(repo, "", name))
	return all(
		func() error { return a.drop(statesBucket, k) },
		func() error { return a.drop(versionsBucket, in(repo, versionFirst(name), tag)) },
		func() error { return a.drop(tagsPushedBucket, in(repo, newestFirst(old.Since), tag)) },
		func() error { return a.drop(tagsPulledBucket, in(repo, newestFirst(pulls.Last), tag)) },
		func() error { return a.drop(aliasesBucket, in(repo, pack(old.Digest), tag)) },
		func() error { return a.drop(pullsBucket, pullsKey(repo, "", name)) },
	)
}

// finish writes the sums of the repositories that were changed, with what the rows' order says of
// them.
func (a *applying) finish() error {
	for repo, c := range a.repos {
		if err := a.finishRepo(repo, c.before, c.now); err != nil {
			return err
		}
	}
	a.tx.OnCommit(func() {
		for bucket, n := range a.counts {
			a.x.rows[bucket] += uint64(n)
		}
	})
	return nil
}

func (a *applying) finishRepo(repo string, before, now sums) error {
	tagged, newest := a.first(tagsPushedBucket, repo)
	now.Newest, now.Says = string(newest), core.Says{}
	if states, tagged := read[tagStates](a.tx, statesBucket, key(repo, now.Newest)); tagged {
		facts, _ := read[core.ImageFacts](a.tx, imagesBucket, in(repo, pack(states.Digest)))
		now.Says = facts.Says()
	}
	pushed, _ := a.first(imagesPushedBucket, repo)
	now.Pushed = pushed
	if tagged.After(pushed) {
		now.Pushed = tagged
	}
	now.Pulls.Last, _ = a.first(imagesPulledBucket, repo)
	if now == before {
		return nil
	}
	name := []byte(repo)
	if before.listed() {
		for bucket, place := range places(repo, before) {
			if err := a.inGroups(bucket, repo, place, a.drop); err != nil {
				return err
			}
		}
	}
	if now.empty() {
		return all(
			func() error { return a.drop(sumsBucket, name) },
			func() error { return a.drop(daysBucket, name) },
		)
	}
	if err := a.put(sumsBucket, name, encoded(now)); err != nil || !now.listed() {
		return err
	}
	for bucket, place := range places(repo, now) {
		err := a.inGroups(bucket, repo, place, func(bucket, key []byte) error { return a.put(bucket, key, nil) })
		if err != nil {
			return err
		}
	}
	return nil
}

// places yields where a repository stands in each order of repositories.
func places(repo string, s sums) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		_ = yield(reposNamedBucket, []byte(repo)) &&
			yield(reposPushedBucket, append(newestFirst(s.Pushed), repo...)) &&
			yield(reposPulledBucket, append(newestFirst(s.Pulls.Last), repo...)) &&
			yield(reposSizeBucket, append(largestFirst(s.Bytes), repo...))
	}
}

// inGroups calls f for a repository's place among all, and among those with its first component.
func (a *applying) inGroups(bucket []byte, repo string, place []byte, f func(bucket, key []byte) error) error {
	group, _, _ := strings.Cut(repo, "/")
	if err := f(bucket, in("", place)); err != nil {
		return err
	}
	return f(bucket, in(group, place))
}

// first returns the time and the rest of a repository's first row in an order of times.
func (a *applying) first(bucket []byte, repo string) (time.Time, []byte) {
	prefix := key(repo, "")
	k, _ := rows(a.tx, bucket).seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return time.Time{}, nil
	}
	return timeOf(k[len(prefix):])
}
