package mirror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// board is a mirror.Shared between the nodes of a test.
type board struct {
	mu      sync.Mutex // guards entries
	entries map[string][]byte
}

func (b *board) Get(_ context.Context, key string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.entries[key]
	return v, ok
}

func (b *board) Put(_ context.Context, key string, value []byte, _ time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries == nil {
		b.entries = map[string][]byte{}
	}
	b.entries[key] = bytes.Clone(value)
}

func (b *board) Delete(_ context.Context, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, key)
}

// change changes every entry whose key begins with prefix.
func (b *board) change(prefix string, to func([]byte) []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, value := range b.entries {
		if strings.HasPrefix(key, prefix) {
			b.entries[key] = to(bytes.Clone(value))
		}
	}
}

func (b *board) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.entries))
}

// node is a mirror as another process has it: with a store and a client of its own.
func node(t *testing.T, up *upstreamtest.Upstream, shared mirror.Shared, audience string, change func(*upstream.Config)) *mirror.Mirror {
	t.Helper()
	m, _ := nodeIn(t, place{directory: t.TempDir()}, up, shared, audience, change)
	return m
}

// place is where a node keeps what it has, and how much of it in memory (0: the default).
type place struct {
	directory string
	memory    int64
}

// nodeIn is a node whose storage is in a place, until stop is called.
func nodeIn(t testing.TB, at place, up *upstreamtest.Upstream, shared mirror.Shared, audience string, change func(*upstream.Config)) (m *mirror.Mirror, stop func()) {
	t.Helper()
	storage, err := dir.Open(at.directory, dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	b, err := storage.Bucket("mirrors")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), b, store.Config{Names: &coretest.MemoryNames{}, Sparse: true, Settings: store.Settings{CacheSize: at.memory}})
	if err != nil {
		t.Fatal(err)
	}
	config := upstream.Config{Name: "docker.io", URLs: []string{up.URL}, AllowPrivate: up.AllowPrivate(), Breaker: time.Nanosecond,
		ConnectTimeout: time.Minute, HeadTimeout: time.Minute, StallTimeout: time.Minute} // this time is not fake
	if change != nil {
		change(&config)
	}
	client, err := upstream.New(config)
	if err != nil {
		t.Fatal(err)
	}
	m, err = mirror.New(mirror.Config{
		Name: "docker.io", Local: s, State: b, Upstream: client, Shared: shared, Audience: audience,
		Settings: mirror.Settings{TTL: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _, _, _, _ = m.Close(), client.Close(), s.Close(), storage.Close() })
	t.Cleanup(stop)
	return m, stop
}

func image(t *testing.T) (up *upstreamtest.Upstream, d digest.Digest) {
	t.Helper()
	up = upstreamtest.New(t, upstreamtest.Config{})
	return up, up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", document(1), "latest")
}

func TestWhatOneProcessLearnedAnotherDoesNotAsk(t *testing.T) {
	up, first := image(t)
	b := new(board)
	one, two := node(t, up, b, "docker.io", nil), node(t, up, b, "docker.io", nil)
	stranger := node(t, up, b, "docker.io as somebody else", nil)
	got := func(name string, m *mirror.Mirror, ref core.Reference, want digest.Digest, requests ...string) {
		t.Helper()
		found, err := m.Manifest(fetch, repo, ref)
		if err != nil || found.Descriptor.Digest != want || digest.FromBytes(found.Bytes) != want {
			t.Errorf("%s: got %v, %v", name, found.Descriptor, err)
		}
		if saw := up.Requests(); !slices.Equal(saw, requests) {
			t.Errorf("%s: the upstream saw %q, want %q", name, saw, requests)
		}
		up.Forget()
	}
	got("the first", one, latest, first, getTag)
	got("the second", two, latest, first)
	got("who asks as somebody else", stranger, latest, first, getTag)

	// One learns of a change. The other has a tag that is fresh, and follows when
	// it is not.
	second := up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", document(2), "latest")
	one.SetSettings(mirror.Settings{TTL: 1})
	got("who learns of a change", one, latest, second, headTag, "registry GET /v2/library/nginx/manifests/"+string(second))
	got("who has a fresh tag", two, latest, first)
	one.SetSettings(mirror.Settings{TTL: time.Hour})
	if err := two.DeleteTag(fetch, repo, "latest"); err != nil {
		t.Fatal(err)
	}
	got("who purged it", two, latest, second, getTag)
	got("a third", node(t, up, b, "docker.io", nil), latest, second)
	got("a third, by digest", node(t, up, b, "docker.io", nil), core.Reference{Digest: second}, second)

	// Missing content.
	for i, m := range []*mirror.Mirror{one, two} {
		_, err := m.Manifest(fetch, repo, core.Reference{Tag: "none"})
		if !errors.Is(err, core.ErrManifestUnknown) {
			t.Errorf("missing: %v", err)
		}
		if saw := len(up.Requests()); saw != 1 {
			t.Errorf("after reader %d of a missing tag the upstream saw %d requests, want 1", i, saw)
		}
	}
	up.Forget()

	// A caller who may not fetch gets nothing from other processes either.
	_, err := node(t, up, b, "docker.io", nil).Manifest(context.Background(), repo, latest)
	if !errors.Is(err, core.ErrUnauthorized) {
		t.Errorf("without fetch: %v", err)
	}
}

// A purge and a denied tag hold in the process that knows of them, whatever another
// one puts back.
func TestAPurgeIsNotUndoneByWhatOthersLearnedBefore(t *testing.T) {
	up, first := image(t)
	b := new(board)
	one := node(t, up, b, "docker.io", nil)
	if _, err := one.Manifest(fetch, repo, latest); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(b.entries)
	for name, purge := range map[string]func() error{
		"the tag":        func() error { return one.DeleteTag(fetch, repo, "latest") },
		"tag":            func() error { _, err := one.Purge(fetch, repo, latest); return err },
		"the manifest":   func() error { _, err := one.Purge(fetch, repo, core.Reference{Digest: first}); return err },
		"the repository": func() error { _, err := one.Purge(fetch, repo, core.Reference{}); return err },
	} {
		if err := purge(); err != nil {
			t.Fatal(err)
		}
		b.entries = maps.Clone(before)
		up.Forget()
		if _, err := one.Manifest(fetch, repo, latest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if saw := up.Requests(); !slices.Equal(saw, []string{getTag}) {
			t.Errorf("%s: the upstream saw %q", name, saw)
		}
	}
}

// A repository that one process purges is purged for all: of what was shared before,
// also under tags and digests that the one has never seen, nobody takes anything. So it
// is after a restart, when the others' word of the purge is lost.
func TestAPurgeOfARepositoryHoldsForAll(t *testing.T) {
	up, first := image(t)
	second := up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", document(2), "other")
	b := new(board)
	here := place{directory: t.TempDir()}
	one, stop := nodeIn(t, here, up, b, "docker.io", nil)
	two := node(t, up, b, "docker.io", nil)
	refs := map[core.Reference]digest.Digest{latest: first, {Tag: "other"}: second, {Digest: second}: second}
	all := func(name string, m *mirror.Mirror, asked bool) {
		t.Helper()
		for ref, want := range refs {
			up.Forget()
			if found, err := m.Manifest(fetch, repo, ref); err != nil || found.Descriptor.Digest != want {
				t.Errorf("%s: %v: got %v, %v", name, ref, found.Descriptor, err)
			}
			if saw := up.Requests(); !asked && len(saw) > 0 {
				t.Errorf("%s: %v: the upstream saw %q", name, ref, saw)
			}
		}
	}
	all("who learns", two, true)
	before := maps.Clone(b.entries)
	if _, err := one.Purge(fetch, repo, core.Reference{}); err != nil { // it has never held anything of it
		t.Fatal(err)
	}
	askedFor := func(name string, m *mirror.Mirror) {
		t.Helper()
		for ref, want := range refs {
			up.Forget()
			if found, err := m.Manifest(fetch, repo, ref); err != nil || found.Descriptor.Digest != want || len(up.Requests()) == 0 {
				t.Errorf("%s: %v: got %v, %v; the upstream saw %q", name, ref, found.Descriptor, err, up.Requests())
			}
			if _, err := m.Purge(fetch, repo, core.Reference{}); err != nil { // the next asks for itself
				t.Fatal(err)
			}
		}
	}
	all("who holds it", two, false)
	askedFor("a third", node(t, up, b, "docker.io", nil))
	askedFor("who purged", one)
	stop()
	b.entries = maps.Clone(before) // as if the purge had never been shared
	one, _ = nodeIn(t, here, up, b, "docker.io", nil)
	for ref := range refs {
		up.Forget()
		if _, err := one.Manifest(fetch, repo, ref); err != nil {
			t.Error(err)
		}
		if saw := up.Requests(); len(saw) == 0 && ref.Tag != "" {
			t.Errorf("after a restart: %v was taken from before the purge", ref)
		}
	}
	// Content that is learned later is shared as before.
	up.Forget()
	all("a fourth", node(t, up, b, "docker.io", nil), false)
}

// Every pull that works without sharing works with any shared entry.
func TestWhatOthersSayIsNotBelievedAgainstTheRules(t *testing.T) {
	set := func(d string, at time.Time) func([]byte) []byte {
		return func([]byte) []byte {
			v, _ := json.Marshal(map[string]any{"digest": d, "time": at})
			return v
		}
	}
	for _, row := range []struct {
		name, prefix string
		to           func([]byte) []byte
		asked        bool
	}{
		{"as it was put", "tag/", func(v []byte) []byte { return v }, false},
		{"a manifest of other bytes", "manifest/", func(v []byte) []byte { return append(v, ' ') }, true},
		{"a manifest without a time", "manifest/", func(v []byte) []byte { return v[bytes.IndexByte(v, '\n'):] }, true},
		{"a manifest without a media type", "manifest/", func(v []byte) []byte {
			at, rest, _ := bytes.Cut(v, []byte("\n"))
			_, content, _ := bytes.Cut(rest, []byte("\n"))
			return slices.Concat(at, []byte("\n\n"), content)
		}, true},
		{"an empty manifest", "manifest/", func([]byte) []byte { return nil }, true},
		{"a tag that is not JSON", "tag/", func([]byte) []byte { return []byte("{") }, true},
		{"a tag of no digest", "tag/", set("sha256:0", time.Now()), true},
		{"a tag of a digest that nobody has", "tag/", set(string(digest.FromString("")), time.Now()), true},
		{"a tag from long ago", "tag/", set(string(digest.FromString("")), time.Now().Add(-2*time.Hour)), true},
		{"a tag from the future", "tag/", set(string(digest.FromString("")), time.Now().Add(time.Hour)), true},
		{"an absence from the future", "tag/", set("", time.Now().Add(time.Hour)), true},
		{"an absence of a minute ago", "tag/", set("", time.Now().Add(-time.Minute)), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, first := image(t)
			b := new(board)
			if _, err := node(t, up, b, "", nil).Manifest(fetch, repo, latest); err != nil {
				t.Fatal(err)
			}
			b.change(row.prefix, row.to)
			up.Forget()
			found, err := node(t, up, b, "", nil).Manifest(fetch, repo, latest)
			if err != nil || found.Descriptor.Digest != first {
				t.Errorf("got %v, %v", found.Descriptor, err)
			}
			if saw := up.Requests(); (len(saw) > 0) != row.asked {
				t.Errorf("the upstream saw %q; want that it was asked: %v", saw, row.asked)
			}
		})
	}
}

// Content that credentials show stays in the process that has them: neither the content,
// nor its existence, nor its absence is shared.
func TestWhatTheUpstreamHidesIsNotShared(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	first := up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", document(1), "latest")
	up.Private("library/nginx")
	b := new(board)
	m := node(t, up, b, "", func(c *upstream.Config) { c.User, c.Secret = "user", "secret" })
	ctx := core.WithAccess(context.Background(), core.Access{Fetch: true, Private: true})
	for _, ref := range []core.Reference{latest, {Digest: first}, {Tag: "none"}} {
		_, err := m.Manifest(ctx, repo, ref)
		if want := ref.Tag == "none"; errors.Is(err, core.ErrManifestUnknown) != want || (err != nil) != want {
			t.Errorf("%v: %v", ref, err)
		}
	}
	if got := b.keys(); len(got) != 0 {
		t.Errorf("shared %q", got)
	}
}

// Credentials raise limits: public content is shared as soon as it is known to be public.
func TestWhatCredentialsFetchedOfAPublicRepositoryIsShared(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	first := up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", document(1), "latest")
	b := new(board)
	login := func(c *upstream.Config) { c.User, c.Secret = "user", "secret" }
	one := node(t, up, b, "", login)
	one.SetSettings(mirror.Settings{TTL: 1})
	if _, err := one.Manifest(insider, repo, latest); err != nil { // for whom nobody is asked
		t.Fatal(err)
	}
	if got := b.keys(); len(got) != 0 {
		t.Errorf("shared %q before it was known who may have it", got)
	}
	one.SetSettings(mirror.Settings{TTL: time.Nanosecond})
	for range 2 { // the first has it asked who may have it
		if _, err := one.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.keys(); len(got) != 2 {
		t.Errorf("shared %q, want the tag and its manifest", got)
	}
	up.Forget()
	two := node(t, up, b, "", login)
	found, err := two.Manifest(fetch, repo, latest)
	if err != nil || found.Descriptor.Digest != first {
		t.Errorf("got %v, %v", found.Descriptor, err)
	}
	for _, saw := range up.Requests() {
		if strings.Contains(saw, "GET /v2/library/nginx/") {
			t.Errorf("the second pulled: %q", up.Requests())
		}
	}
}
