package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// crashAfter lets everything fail from the k-th bucket operation on.
func crashAfter(w *world, k int64) (crashed func() bool) {
	var count atomic.Int64
	w.memory.intercept(func(context.Context, string) error {
		if count.Add(1) > k {
			return errCrash
		}
		return nil
	})
	return func() bool { return count.Load() > k }
}

// layout2 rewrites a store's objects as the program before it would have written them:
// tags have `digest` and `time`, links are empty or have a media type, entries of
// referrers have no mark in their keys and no bound, and there is no record of the
// layout.
func layout2(t *testing.T, m *memory, entries map[digest.Digest]core.Descriptor) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, o := range maps.Clone(m.visible) {
		var said struct {
			Digest    digest.Digest `json:"digest"`
			Since     time.Time     `json:"since"`
			MediaType string        `json:"media_type"`
		}
		set := func(key string, data []byte) {
			info := o.info
			info.Key, info.Size = key, int64(len(data))
			m.visible[key] = &object{data: data, info: info}
		}
		switch {
		case key == "layout":
			delete(m.visible, key)
		case strings.Contains(key, "/_tags/"):
			must(t, json.Unmarshal(o.data, &said))
			set(key, fmt.Appendf(nil, `{"digest":%q,"time":%q}`, said.Digest, said.Since.Format(time.RFC3339Nano)))
		case strings.Contains(key, "/_referrers/"):
			delete(m.visible, key)
			old, _, _ := strings.Cut(key, "+")
			set(old, marshal(t, entries[digest.Digest(old[strings.LastIndexByte(old, '/')+1:])]))
		case strings.Contains(key, "+") && len(o.data) > 0:
			must(t, json.Unmarshal(o.data, &said))
			data := []byte{}
			if said.MediaType != "" {
				data = fmt.Appendf(nil, `{"media_type":%q}`, said.MediaType)
			}
			set(key, data)
		}
	}
	m.durable = maps.Clone(m.visible)
}

// old is a storage of layout 2 and its expected content.
type old struct {
	*world
	subject  digest.Digest
	types    map[digest.Digest]string // of referrers
	entries  map[digest.Digest]core.Descriptor
	untyped  digest.Digest // a manifest that does not name its media type
	untagged digest.Digest
}

func newOld(t *testing.T, referrers int) *old {
	t.Helper()
	w, err := newWorld()
	must(t, err)
	o := &old{world: w, types: map[digest.Digest]string{}, entries: map[digest.Digest]core.Descriptor{}}
	ctx := as(t, "ada")
	must(t, w.push(ctx, repo, "config", "one", "v1", "latest"), w.push(ctx, repo, "config", "two", "v2", "latest"), w.push(ctx, "team/b", "config", "one", "v1"))
	must(t, w.push(ctx, repo, "config", "nobody's"))
	o.untagged = imageDigest("nobody's")
	untyped := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.example","digest":%q,"size":6},"layers":[]}`, digest.FromString("config"))
	o.untyped = digest.FromBytes(untyped)
	must(t, w.put(ctx, repo, untyped, false, "untyped"))
	o.subject = imageDigest("one")
	for n := range referrers {
		artifactType := []string{"x/sbom", "x/signature", ""}[n%3]
		note := fmt.Sprint("number ", n)
		if n%7 == 3 {
			note = strings.Repeat("large", 20_000)
		}
		d := w.attach(t, o.subject, artifactType, note)
		if artifactType == "" {
			artifactType = "application/vnd.example" // its config's
		}
		o.types[d] = artifactType
		o.entries[d] = core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 9, ArtifactType: artifactType, Annotations: map[string]string{"note": note}}
	}
	must(t, w.Close())
	layout2(t, w.memory, o.entries)
	return o
}

// check compares a store over the storage with its expected content.
func (o *old) check(ctx context.Context, s core.Registry) error {
	if err := whole(ctx, s); err != nil {
		return err
	}
	for name, layer := range map[string]string{repo + ":v1": "one", repo + ":latest": "two", repo + ":v2": "two", "team/b:v1": "one"} {
		name, tag, _ := strings.Cut(name, ":")
		if desc, err := s.Resolve(ctx, name, core.Reference{Tag: tag}); err != nil || desc.Digest != imageDigest(layer) {
			return fmt.Errorf("%s:%s names %s, %v", name, tag, desc.Digest, err)
		}
	}
	if desc, err := s.Resolve(ctx, repo, core.Reference{Tag: "untyped"}); err != nil || desc.Digest != o.untyped || desc.MediaType != ocispec.MediaTypeImageManifest {
		return fmt.Errorf("the manifest without a type is %v, %v", desc, err)
	}
	for _, artifactType := range []string{"", "x/sbom", "x/signature", "application/vnd.example", "x/none"} {
		var want, got []digest.Digest
		for d, of := range o.types {
			if artifactType == "" || of == artifactType {
				want = append(want, d)
			}
		}
		slices.Sort(want)
		for desc, err := range s.Referrers(ctx, repo, o.subject, artifactType, "") {
			if err != nil {
				return err
			}
			if note := desc.Annotations["note"]; desc.ArtifactType != o.types[desc.Digest] || note != o.entries[desc.Digest].Annotations["note"] && len(o.entries[desc.Digest].Annotations["note"]) < core.MaxReferrerSize {
				return fmt.Errorf("a referrer is listed as %.300v", desc)
			}
			got = append(got, desc.Digest)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%d referrers of type %q are listed, want %d", len(got), artifactType, len(want))
		}
	}
	return nil
}

// converted checks that no objects of layout 2 are left that are not read any more.
func converted(m *memory) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, o := range m.visible {
		if strings.Contains(key, "/_referrers/") && (!strings.Contains(key, "+") || len(o.data) > core.MaxReferrerSize) {
			return fmt.Errorf("%s of %d bytes is left", key, len(o.data))
		}
	}
	if m.visible["layout"] == nil {
		return errors.New("there is no record that the storage was converted")
	}
	return nil
}

// A conversion is cut off before each of its operations, by a kill and by power cuts, and
// goes on at the next start.
func TestAConversionIsCutOffAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for k := int64(0); ; k++ {
		o := newOld(t, 9)
		crashAfter(o.world, k)
		err := o.open()
		if err == nil { // the rebuild of the index in the background may have met the crash
			must(t, o.Close())
		}
		ends := map[string]*memory{
			"a kill":      o.memory.killed(),
			"a power cut": o.memory.powerCut(func(string) bool { return false }),
		}
		for i := range 3 {
			ends[fmt.Sprint("partial power cut ", i)] = o.memory.powerCut(func(string) bool { return rng.IntN(2) == 0 })
		}
		for end, m := range ends {
			if err := reopened(m, o.world, func(s core.Registry) error { return errors.Join(o.check(t.Context(), s), converted(m)) }); err != nil {
				t.Fatalf("%s at operation %d: %v", end, k, err)
			}
		}
		if err == nil {
			if k < 20 {
				t.Errorf("%d operations, want some for each entry", k)
			}
			return
		}
	}
}

// A conversion that is cut off again and again gets further each time.
func TestAConversionGetsOnHoweverOftenItIsCutOff(t *testing.T) {
	o := newOld(t, 200)
	for starts := 1; ; starts++ {
		crashAfter(o.world, 300)
		err := o.open()
		if err == nil {
			must(t, o.Close())
			if starts < 2 {
				t.Errorf("%d starts: no conversion was interrupted", starts)
			}
			break
		}
		if starts > 20 {
			t.Fatalf("not converted after %d starts: %v", starts, err)
		}
		o.memory = o.memory.killed()
	}
	o.memory.intercept(func(context.Context, string) error { return nil })
	must(t, reopened(o.memory, o.world, func(s core.Registry) error { return errors.Join(o.check(t.Context(), s), converted(o.memory)) }))
}

// Objects that existed at the conversion may have been in use until then, and a tag's
// history begins with what it named.
func TestWhatLayout2HeldCountsFromTheConversion(t *testing.T) {
	o := newOld(t, 0)
	o.clock.Add(int64(100 * day / time.Second))
	m := &month{world: o.world, t: t, pulled: map[digest.Digest]time.Time{}}
	must(t, o.open())
	m.reopen()
	defer m.Close()
	m.wait(29 * day)
	m.wants("within 30 days of the conversion", true, o.untagged)
	m.reopen()
	pushed := m.image("three", "latest")
	got := m.record(t, "team/app/_tags/latest")
	if len(got.Before) != 1 || got.Before[0].Digest != imageDigest("two") || !got.Before[0].Since.Equal(epoch) || got.Before[0].Nonce == "" || got.Digest != pushed {
		t.Errorf("a tag of layout 2 moved, and its record is %+v", got)
	}
	m.wait(2 * day)
	m.wants("31 days after the conversion", false, o.untagged)
}

// Damage neither prevents the start nor loses what the manifests say.
func TestADamagedEntryIsConverted(t *testing.T) {
	for name, content := range map[string]string{"nothing": "", "half": `{"mediaType":`, "another's": `{"digest":"sha256:` + strings.Repeat("0", 64) + `"}`, "a list": `[]`} {
		t.Run(name, func(t *testing.T) {
			o := newOld(t, 3)
			o.memory.mu.Lock()
			for key, held := range o.memory.visible {
				if strings.Contains(key, "/_referrers/") {
					o.memory.visible[key] = &object{data: []byte(content), info: held.info}
				}
			}
			o.memory.mu.Unlock()
			must(t, o.open())
			defer o.Close()
			for artifactType, want := range map[string]int{"": 3, "x/sbom": 1, "x/signature": 1, "application/vnd.example": 1, "x/none": 0} {
				n := 0
				for desc, err := range o.Referrers(t.Context(), repo, o.subject, artifactType, "") {
					must(t, err)
					if n++; desc.ArtifactType != o.types[desc.Digest] {
						t.Errorf("got %v, want type %s", desc, o.types[desc.Digest])
					}
				}
				if n != want {
					t.Errorf("%d referrers of type %q, want %d", n, artifactType, want)
				}
			}
			must(t, converted(o.memory))
		})
	}
}

func TestALayoutThatIsNotOurs(t *testing.T) {
	for name, tt := range map[string]struct{ record, want string }{
		"newer":   {`{"version":4,"since":"2026-11-29T00:00:00Z"}`, "run the newer program"},
		"damaged": {`{"version"`, ""},
		"older":   {`{"version":2}`, ""},
		"empty":   {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOld(t, 2)
			o.memory.mu.Lock()
			o.memory.set("layout", []byte(tt.record))
			o.memory.mu.Unlock()
			err := o.open()
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			must(t, err, o.check(t.Context(), o), converted(o.memory), o.Close())
		})
	}
}
