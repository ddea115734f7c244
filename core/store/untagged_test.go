package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

const day = 24 * time.Hour

// month is a world that keeps untagged manifests for 30 days.
type month struct {
	*world
	t      *testing.T
	pulled map[digest.Digest]time.Time
}

func newMonth(t *testing.T) *month {
	t.Helper()
	w, err := newWorld()
	must(t, err)
	m := &month{world: w, t: t, pulled: map[digest.Digest]time.Time{}}
	m.reopen()
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

func (m *month) reopen() {
	m.t.Helper()
	config := m.collecting()
	config.Settings.Untagged = 30 * day
	config.Pulled = func(context.Context, string) (map[digest.Digest]time.Time, error) { return m.pulled, nil }
	must(m.t, m.Close())
	var err error
	m.Store, err = store.Open(m.t.Context(), m.memory, config)
	must(m.t, err)
}

func (m *month) wait(d time.Duration) { m.clock.Add(int64(d / time.Second)) }

// as returns the context of a push by the given user.
func as(t *testing.T, who string) context.Context {
	return core.WithAccess(t.Context(), core.Access{Known: true, Caller: who})
}

// image pushes an image by its layer, as ada, and returns its digest.
func (m *month) image(layer string, tags ...string) digest.Digest {
	m.t.Helper()
	must(m.t, m.push(as(m.t, "ada"), repo, "config", layer, tags...))
	return imageDigest(layer)
}

// wants collects, and says which of two images are still there.
func (m *month) wants(what string, held bool, d digest.Digest) {
	m.t.Helper()
	must(m.t, m.collect(m.t.Context()))
	_, err := m.Manifest(m.t.Context(), repo, core.Reference{Digest: d})
	if (err == nil) != held {
		m.t.Errorf("%s: held %t (%v), want %t", what, err == nil, err, held)
	}
}

// untagged counts from the latest of the push, the moment when the last tag left, and
// the last pull.
func TestUntaggedCountsFromTheLastUse(t *testing.T) {
	type step func(m *month, d digest.Digest)
	tests := map[string]struct {
		tags []string
		// last makes the image untagged, or uses it, 100 days after its push.
		last step
		// gone: it may go at once.
		gone bool
	}{
		"pushed without a tag":      {last: func(*month, digest.Digest) {}, gone: true},
		"its tag was moved":         {tags: []string{"v1"}, last: func(m *month, _ digest.Digest) { m.image("other", "v1") }},
		"its tag was deleted":       {tags: []string{"v1"}, last: func(m *month, _ digest.Digest) { must(m.t, m.DeleteTag(m.t.Context(), repo, "v1")) }},
		"one of its tags was moved": {tags: []string{"v1", "v2"}, last: func(m *month, _ digest.Digest) { m.image("other", "v1"); m.wait(time.Hour); m.image("other", "v2") }},
		"one was moved, one deleted": {tags: []string{"v1", "v2"}, last: func(m *month, _ digest.Digest) {
			m.image("other", "v1")
			must(m.t, m.DeleteTag(m.t.Context(), repo, "v2"))
		}},
		"its tags were moved together": {tags: []string{"v1", "v2"}, last: func(m *month, _ digest.Digest) { m.image("other", "v1", "v2") }},
		"its tag went and came and went": {tags: []string{"v1"}, last: func(m *month, _ digest.Digest) {
			m.image("other", "v1")
			m.wait(29 * day)
			m.image("one", "v1")
			m.wait(29 * day)
			m.image("other", "v1")
		}},
		"it was pulled by its digest": {last: func(m *month, d digest.Digest) { m.pulled[d] = m.now() }},
		"another was pulled":          {last: func(m *month, _ digest.Digest) { m.pulled[digest.FromString("other")] = m.now() }, gone: true},
		"it was pushed again":         {last: func(m *month, _ digest.Digest) { m.image("one") }},
		"it was pushed again with a tag that was deleted at once": {last: func(m *month, _ digest.Digest) {
			m.image("one", "v1")
			must(m.t, m.DeleteTag(m.t.Context(), repo, "v1"))
		}},
		"its tag's record was damaged, and moved": {tags: []string{"v1", "v2"}, last: func(m *month, _ digest.Digest) {
			m.image("other", "v1")
			m.setTag("v2", `{"digest":"sha256:`)
			m.image("other", "v2")
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMonth(t)
			d := m.image("one", tt.tags...)
			m.image("stays", "stays")
			m.wait(100 * day)
			if len(tt.tags) > 0 {
				m.wants("while it is tagged", true, d)
			}
			tt.last(m, d)
			m.wait(time.Hour + 2*time.Hour) // its grace is over
			m.wants("a moment later", !tt.gone, d)
			if tt.gone {
				return
			}
			m.reopen()
			m.wait(29 * day)
			m.wants("within 30 days", true, d)
			m.wait(2 * day)
			m.wants("after 30 days", false, d)
		})
	}
}

// setTag writes a tag's record behind the store's back.
func (m *month) setTag(tag, content string) {
	m.t.Helper()
	must(m.t, m.Close())
	m.memory.mu.Lock()
	for key := range m.memory.visible {
		if strings.HasSuffix(key, "/_tags/"+tag) {
			info := m.memory.set(key, []byte(content))
			m.memory.durable[key] = m.memory.visible[info.Key]
		}
	}
	m.memory.mu.Unlock()
	var err error
	config := m.collecting()
	config.Settings.Untagged = 30 * day
	m.Store, err = store.Open(m.t.Context(), m.memory, config)
	must(m.t, err)
}

// An index keeps its platforms as long as it stays itself.
func TestUntaggedPlatformsStayWithTheirIndex(t *testing.T) {
	m := newMonth(t)
	platform := m.image("one")
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":7}]}`, platform)
	must(t, m.put(t.Context(), repo, index, false, "v1"))
	m.wait(100 * day)
	m.image("other", "v1")
	m.wait(29 * day)
	m.wants("the index, within 30 days", true, digest.FromBytes(index))
	m.wants("its platform", true, platform)
	m.wait(2 * day)
	m.wants("the index, after 30 days", false, digest.FromBytes(index))
	m.wants("its platform", false, platform)
}

// tagRecord is the expected content of a tag's record on the disk.
type recordOnDisk struct {
	Nonce  string         `json:"nonce"`
	Digest digest.Digest  `json:"digest"`
	Since  time.Time      `json:"since"`
	By     string         `json:"by"`
	Left   time.Time      `json:"left"`
	Before []recordOnDisk `json:"before"`
}

func (w *world) record(t *testing.T, suffix string) (r recordOnDisk) {
	t.Helper()
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	for key, o := range w.memory.visible {
		if strings.HasSuffix(key, suffix) {
			if err := json.Unmarshal(o.data, &r); err != nil {
				t.Fatalf("%s: %v: %s", key, err, o.data)
			}
			return r
		}
	}
	t.Fatalf("there is no record %s", suffix)
	return r
}

func TestATagRemembersItsPredecessors(t *testing.T) {
	m := newMonth(t)
	var pushed []digest.Digest
	var times []time.Time
	for n := range 30 {
		m.wait(time.Hour)
		times = append(times, m.now())
		who := []string{"ada", "", "erich"}[n%3]
		layer := fmt.Sprint("layer ", n)
		must(t, m.push(as(t, who), repo, "config", layer, "v1"))
		must(t, m.push(as(t, "nobody"), repo, "config", layer, "v1")) // a retry changes nothing
		pushed = append(pushed, imageDigest(layer))
		got := m.record(t, "/_tags/v1")
		chain := append([]recordOnDisk{got}, got.Before...)
		if len(chain) != min(n, 20)+1 {
			t.Fatalf("after %d moves %d predecessors", n, len(got.Before))
		}
		nonces := map[string]bool{}
		for i, state := range chain {
			k := n - i
			if state.Digest != pushed[k] || !state.Since.Equal(times[k]) || state.By != []string{"ada", "", "erich"}[k%3] || state.Nonce == "" || nonces[state.Nonce] {
				t.Fatalf("after %d moves number %d is %+v, want that of push %d", n, i, state, k)
			}
			nonces[state.Nonce] = true
		}
	}
	left := m.record(t, "manifests/sha256/"+pushed[3].Encoded()[:2]+"/"+pushed[3].Encoded()+"+team+app")
	if !left.Left.Equal(times[4]) || left.By != "ada" || !left.Since.Equal(times[3]) {
		t.Errorf("the record of the manifest that the tag left is %+v, want ada's push at %v, left at %v", left, times[3], times[4])
	}
	if data := marshal(t, m.record(t, "/_tags/v1")); len(data) > 6<<10 {
		t.Errorf("a tag's record has %d bytes", len(data))
	}
}

// A caller's name is cut, so that a token cannot make records large.
func TestALongNameIsCut(t *testing.T) {
	m := newMonth(t)
	must(t, m.push(as(t, strings.Repeat("ä", 100_000)), repo, "config", "one", "v1"))
	if by := m.record(t, "/_tags/v1").By; by != strings.Repeat("ä", 127) {
		t.Errorf("got a name of %d bytes", len(by))
	}
}

// The note that a tag leaves a manifest is durable before the tag moves or goes: after a
// crash anywhere either the tag is still there, or the note.
func TestTheNoteComesBeforeTheTagLeaves(t *testing.T) {
	leaves := map[string]func(m *world) error{
		"moved":   func(w *world) error { return w.push(as(t, "ada"), repo, "config", "two", "v1") },
		"deleted": func(w *world) error { return w.DeleteTag(t.Context(), repo, "v1") },
	}
	for name, leave := range leaves {
		t.Run(name, func(t *testing.T) {
			for k := int64(0); ; k++ {
				w, err := newWorld()
				must(t, err, w.push(as(t, "ada"), repo, "config", "one", "v1"))
				w.clock.Add(int64(100 * day / time.Second))
				crashed := crashAfter(w, k)
				_ = leave(w) // fails where it is cut off
				must(t, w.Close())
				for _, kept := range []bool{true, false} {
					after := &world{memory: w.memory.powerCut(func(key string) bool { return kept || strings.Contains(key, "_tags") }), clock: w.clock}
					config := after.collecting()
					config.Settings.Untagged = 30 * day
					after.Store, err = store.Open(t.Context(), after.memory, config)
					must(t, err)
					after.age()
					must(t, after.collect(t.Context()))
					if _, err := after.Manifest(t.Context(), repo, core.Reference{Digest: imageDigest("one")}); err != nil {
						t.Errorf("%s, crash at operation %d, all kept %t: the manifest that the tag left was collected at once: %v", name, k, kept, err)
					}
					must(t, after.Close())
				}
				if !crashed() {
					return
				}
			}
		})
	}
}
