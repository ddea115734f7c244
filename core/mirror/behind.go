package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// The queue of manifests to be stored is bounded in number and in bytes. Beyond that an answer
// waits until its own manifest is stored: the disk is then slower than the upstream.
const (
	maxBehind      = 256
	maxBehindBytes = 16 << 20
)

// behind stores manifests after they were served: the syncs of a manifest take longer than its
// transfer from the upstream. A queued manifest counts as held, also for callers that ask before
// it is stored. A killed process loses the queue, and asks the upstream again.
//
// The lessons of one repository are stored in the order in which they were learned.
type behind struct {
	mu    sync.Mutex // guards the fields below, and those of the backlogs
	repos map[string]*backlog
	count int // lessons, and bytes of their manifests
	bytes int
}

// backlog is the queue of one repository, the oldest first. A goroutine works on it as long as it
// is not empty.
type backlog struct {
	lessons   []*lesson
	tags      map[string]*lesson        // the newest of each
	manifests map[digest.Digest]*lesson // any of each
}

// lesson is what the mirror learned about a manifest, and about the tag that names it unless tag
// is empty.
type lesson struct {
	found core.Manifest
	tag   string
	at    time.Time // when the upstream said so
	gone  time.Time // since when it has no such tag; zero: it has
	// fresh: the store has no such manifest, or its tag names another.
	fresh bool
	done  chan struct{} // closed when it is in the store, or cannot be
	err   error         // why it cannot be; set before done is closed
}

// learn queues a lesson for the store. Only flights call it, and Close waits for them.
func (m *Mirror) learn(ctx context.Context, repo string, l *lesson) {
	l.done = make(chan struct{})
	if l.tag != "" {
		m.present(repo + ":" + l.tag)
	}
	if l.fresh {
		m.present(referrersKey(repo, l.found.Descriptor.Digest)) // its referrers may be asked for again now
	}
	b := &m.behind
	b.mu.Lock()
	log := b.repos[repo]
	if log == nil {
		log = &backlog{tags: map[string]*lesson{}, manifests: map[digest.Digest]*lesson{}}
		if b.repos == nil {
			b.repos = map[string]*backlog{}
		}
		b.repos[repo] = log
		m.background.Go(func() { m.catchUp(repo, log) })
	}
	log.lessons = append(log.lessons, l)
	if l.tag != "" {
		log.tags[l.tag] = l
	}
	if l.fresh {
		log.manifests[l.found.Descriptor.Digest] = l
	}
	b.count++
	b.bytes += len(l.found.Bytes)
	full := b.count > maxBehind || b.bytes > maxBehindBytes
	b.mu.Unlock()
	if full {
		select {
		case <-l.done:
		case <-ctx.Done():
		}
	}
}

// catchUp stores the queued lessons of a repository, also while the mirror is being closed, so
// that a restart has them.
func (m *Mirror) catchUp(repo string, log *backlog) {
	b := &m.behind
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(log.lessons) > 0 {
		l := log.lessons[0]
		b.mu.Unlock()
		m.keepLesson(context.WithoutCancel(m.life), repo, l)
		b.mu.Lock()
		log.lessons = log.lessons[1:]
		if log.tags[l.tag] == l {
			delete(log.tags, l.tag)
		}
		if d := l.found.Descriptor.Digest; log.manifests[d] == l {
			delete(log.manifests, d)
		}
		b.count--
		b.bytes -= len(l.found.Bytes)
		close(l.done)
	}
	delete(b.repos, repo)
}

// keepLesson stores a manifest, and then records when its tag was checked.
func (m *Mirror) keepLesson(ctx context.Context, repo string, l *lesson) {
	d := l.found.Descriptor.Digest
	if l.fresh {
		put := core.ManifestPut{MediaType: l.found.Descriptor.MediaType, Bytes: l.found.Bytes, Digest: d}
		if l.tag != "" {
			put.Tags = []string{l.tag}
			if last, ok := m.checkOf(ctx, repo, l.tag); ok && last.Digest != d {
				put.Seen = last.Time
			}
		}
		if _, err := m.local.PutManifest(ctx, repo, put); err != nil {
			l.err = err
			m.log.Warn("manifest cannot be stored; it is served, and requested again later", "repository", repo, "digest", d, "error", err)
			return
		}
	}
	if l.tag != "" {
		key, last := checkKey(repo, l.tag), check{Digest: d, Time: l.at.UTC(), Gone: l.gone.UTC()}
		m.remember(ctx, key, last)
		m.checks.set(key, last)
	}
}

// tag returns what is queued for a tag.
func (b *behind) tag(repo, tag string) (heldTag, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if log := b.repos[repo]; log != nil {
		if l := log.tags[tag]; l != nil {
			return heldTag{manifest: l.found, ok: true, checked: l.at, gone: l.gone}, true
		}
	}
	return heldTag{}, false
}

// manifest returns the queued manifest with a digest.
func (b *behind) manifest(repo string, d digest.Digest) (core.Manifest, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if log := b.repos[repo]; log != nil {
		if l := log.manifests[d]; l != nil {
			return l.found, true
		}
	}
	return core.Manifest{}, false
}

// settle returns when everything that was learned about a repository until now is stored, or has
// failed to be. A removal that follows then covers it. An empty repo means all.
func (b *behind) settle(ctx context.Context, repo string) error {
	b.mu.Lock()
	var last []*lesson
	for name, log := range b.repos {
		if n := len(log.lessons); n > 0 && (repo == "" || repo == name) {
			last = append(last, log.lessons[n-1])
		}
	}
	b.mu.Unlock()
	for _, l := range last {
		select {
		case <-l.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// settle calls settle of all mirrors with these repositories: the mirror of a replaced
// configuration may still be storing what it learned.
func (m *Mirror) settle(ctx context.Context, repo string) error {
	for _, other := range m.namesakes() {
		if err := other.behind.settle(ctx, repo); err != nil {
			return err
		}
	}
	return nil
}

// held is a manifest of the store, or on its way there. Errors: those of the store.
func (m *Mirror) held(ctx context.Context, repo string, d digest.Digest) (core.Manifest, error) {
	if found, ok := m.behind.manifest(repo, d); ok {
		return found, nil
	}
	return m.local.Manifest(ctx, repo, core.Reference{Digest: d})
}
