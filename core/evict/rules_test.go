package evict_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/store"
)

// Referrers of an image stay as long as the image, and are evicted with it.
func TestReferrersGoWithTheirSubject(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		app := s.image(nginx, "app")
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "x/sbom"}
		m.SchemaVersion = 2
		m.Config = s.blob(nginx, "{}")
		m.Layers = []core.Descriptor{s.blob(nginx, "sbom")}
		m.Subject = &core.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: app, Size: 3}
		s.put(nginx, "sbom", m.MediaType, m)
		s.wait(80 * day)
		s.pull(nginx, app)
		s.wait(80 * day)
		s.went()
		s.wait(20 * day)
		s.went("app", "sbom")
	})
}

// A kill may lose the pull that brought an image; it counts from its arrival then.
func TestWhatWasNeverSeenToBePulledCountsFromItsArrival(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		doc := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
		d := digest.FromBytes(doc)
		s.names[d] = "unseen"
		put := core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: doc, Digest: d, Tags: []string{"unseen"}}
		if _, err := s.PutManifest(s.t.Context(), nginx, put); err != nil {
			s.t.Fatal(err)
		}
		s.wait(80 * day)
		s.went()
		s.wait(20 * day)
		s.went("unseen")
	})
}

// Records beside an image are removed with it: when its tags were checked, and its
// referrers.
func TestRecordsGoWithTheirImage(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		d := s.image(nginx, "old")
		keys := []string{"mirror/checks/" + nginx + "/_tags/old", "mirror/lists/" + nginx + "/_referrers/" + d.String()}
		for _, key := range keys {
			if _, err := s.state.Put(s.t.Context(), key, []byte("{}"), bucket.Condition{}); err != nil {
				s.t.Fatal(err)
			}
		}
		s.wait(80 * day)
		s.went()
		s.wait(20 * day)
		s.went("old")
		for _, key := range keys {
			if _, _, err := s.state.Get(s.t.Context(), key); !errors.Is(err, bucket.ErrNotExist) {
				s.t.Errorf("%s: %v, want it gone", key, err)
			}
		}
	})
}

// A download that goes beyond max_size does not wait for the next look.
func TestADownloadBeyondTheSizeIsFollowedByEviction(t *testing.T) {
	settings := evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {MaxSize: 310 * kib}}}
	shelved(t, settings, func(s *shelf) {
		s.image(nginx, "one")
		s.image(nginx, "two")
		s.wait(2 * time.Hour)
		s.went()
		s.image(nginx, "three") // with one it would be too much; the evictor does not learn of it
		s.went()
		s.Kept(nginx, 100*kib)
		s.wait(10 * time.Second)
		s.went("one")
	})
}

// pulling is a store in which something is pulled while something else is evicted.
type pulling struct {
	*store.Store
	pull func()
}

func (p *pulling) Evict(ctx context.Context, repo string, ds ...digest.Digest) (store.Evicted, error) {
	p.pull()
	return p.Store.Evict(ctx, repo, ds...)
}

// Between the look at what is held and its turn an image may have been pulled.
func TestWhatIsPulledDuringAPassStays(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		s.image(nginx, "one")
		two := s.image(httpd, "two")
		e := evict.New(evict.Config{
			Local: &pulling{s.Store, func() { time.Sleep(time.Second); s.pulled.Mark(httpd, two, "", "") }},
			Pulls: s.pulled,
		})
		defer e.Close()
		time.Sleep(time.Hour)
		e.SetSettings(evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {Keep: time.Minute}}})
		s.wait(10 * time.Second)
		for repo, held := range map[string]bool{nginx: false, httpd: true} {
			tag := map[bool]string{false: "one", true: "two"}[held]
			if _, err := s.Manifest(s.t.Context(), repo, core.Reference{Tag: tag}); (err == nil) != held {
				s.t.Errorf("%s: %v, want it held: %t", tag, err, held)
			}
		}
	})
}

// refusing is a store that evicts nothing.
type refusing struct{ *store.Store }

func (refusing) Evict(context.Context, string, ...digest.Digest) (store.Evicted, error) {
	return store.Evicted{}, store.ErrDamaged
}

// An eviction that fails before it has removed anything is reported only as a failure.
func TestAnEvictionThatRemovedNothingIsNotTold(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		s.image(nginx, "one")
		var log strings.Builder
		e := evict.New(evict.Config{
			Local: refusing{s.Store}, Pulls: s.pulled, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Evicted: func(gone store.Evicted) { s.t.Errorf("told of %+v", gone) },
		})
		defer e.Close()
		time.Sleep(time.Hour)
		e.SetSettings(evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {Keep: time.Minute}}})
		s.wait(10 * time.Second)
		if got := log.String(); strings.Contains(got, "evicted") || !strings.Contains(got, store.ErrDamaged.Error()) {
			s.t.Errorf("the log says %q, want the failure alone", got)
		}
	})
}

// The evictor removes lists that are not requested any more, and at once those of manifests that
// are not held, which earlier versions have left.
func TestListsAgeOut(t *testing.T) {
	shelved(t, ninety, func(s *shelf) {
		held := s.image(nginx, "held")
		key := func(d digest.Digest) string { return "mirror/lists/" + nginx + "/_referrers/" + d.String() }
		junk := []string{}
		for i := range 20 {
			junk = append(junk, key(digest.FromString(fmt.Sprint(i))),
				fmt.Sprintf("mirror/lists/docker.io/no%d/such/_referrers/%s", i, digest.FromString("x")))
		}
		lists := []string{key(held), "mirror/lists/" + nginx + "/_tags", "mirror/lists/docker.io/not/held/_tags"}
		for _, key := range append(junk, lists...) {
			if _, err := s.state.Put(s.t.Context(), key, []byte("{}"), bucket.Condition{}); err != nil {
				s.t.Fatal(err)
			}
		}
		have := func(want bool, keys ...string) {
			s.t.Helper()
			for _, key := range keys {
				if _, err := s.state.Stat(s.t.Context(), key); (err == nil) != want {
					s.t.Errorf("%s: %v, want it there: %t", key, err, want)
				}
			}
		}
		s.wait(day)
		s.wait(day)
		have(false, junk...)
		have(true, lists...)
		for range 50 {
			s.wait(2 * day)
			s.pull(nginx, held)
		}
		have(false, lists...)
		if _, err := s.Manifest(s.t.Context(), nginx, core.Reference{Digest: held}); err != nil {
			s.t.Errorf("what is pulled: %v", err)
		}
	})
}
