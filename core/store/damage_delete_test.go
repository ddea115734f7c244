package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// Removing an object does not require reading it.
func TestWhatIsDamagedCanBeDeleted(t *testing.T) {
	for how := range harms {
		t.Run(how, func(t *testing.T) {
			d := newDamaged(t)
			layer := digest.FromString(d.layer)
			signature := d.registry.image(t, "a", nil, d.digest(), "signature")
			manifests := map[string]string{}
			for name, m := range map[string]digest.Digest{"image": d.digest(), "signature": signature} {
				manifests[name] = blobFile(m)
			}
			d.harm(manifests["image"], how)
			d.harm(manifests["signature"], how)
			d.harm(blobFile(layer), how)
			d.harm("repos/a/_tags/v1", how)
			d.restart()

			if err := d.DeleteBlob(t.Context(), "a", layer); !errors.Is(err, core.ErrBlobInUse) {
				t.Errorf("delete of a blob beside damaged manifests: %v, want %v", err, core.ErrBlobInUse)
			}
			must(t, d.DeleteManifest(t.Context(), "a", signature))
			for desc, err := range d.Referrers(t.Context(), "a", d.digest(), "", "") {
				t.Errorf("a deleted referrer is listed: %v, %v", desc, err)
			}
			for info, err := range d.bucket.List(t.Context(), "repos/a/_referrers/", "") {
				t.Errorf("an entry of a deleted referrer is left: %v, %v", info, err)
			}
			must(t, d.DeleteManifest(t.Context(), "a", d.digest()))
			must(t, d.DeleteBlob(t.Context(), "a", layer))
			if how != "removed" { // the tag is gone then
				must(t, d.DeleteTag(t.Context(), "a", "v1"))
			}
			d.wait(3 * time.Hour)
			done, err := d.Collect(t.Context(), store.CollectOptions{Idle: true})
			if err != nil || done.Kept != 0 {
				t.Errorf("collected %+v, %v, want no repository that was kept", done, err)
			}
			for info, err := range d.bucket.List(t.Context(), "", "") {
				if err != nil || info.Key != "layout" {
					t.Errorf("left in the bucket: %v, %v", info, err)
				}
			}
		})
	}
}

// A purge of a mirror's repository is an eviction of all that Manifests yields.
func TestWhatIsDamagedCanBeEvicted(t *testing.T) {
	for how := range harms {
		t.Run(how, func(t *testing.T) {
			d := newDamaged(t)
			other := d.registry.image(t, "a", []string{"v2"}, "", "other layer")
			d.harm(blobFile(d.digest()), how)
			d.harm("repos/a/_tags/v1", how)
			d.restart()
			done, err := d.Evict(t.Context(), "a", other)
			if err != nil || len(done.Manifests) != 1 {
				t.Errorf("eviction beside a damaged manifest: %+v, %v", done, err)
			}
			var all []digest.Digest
			for held, err := range d.Manifests(t.Context(), "a") {
				must(t, err)
				all = append(all, held.Digest)
			}
			if _, err := d.Evict(t.Context(), "a", all...); err != nil {
				t.Errorf("eviction of a damaged manifest: %v", err)
			}
			for info, err := range d.bucket.List(t.Context(), "manifests/", "") {
				t.Errorf("left in the bucket: %v, %v", info, err)
			}
			for info, err := range d.bucket.List(t.Context(), "repos/", "") {
				t.Errorf("left in the bucket: %v, %v", info, err)
			}
		})
	}
}

// It is unknown what a damaged manifest or tag names, so everything of its
// repository stays that the manifest or the tag may need. Other repositories are
// collected. The record of a manifest that names its media type is not needed.
func TestTheCollectorKeepsWhatDamageMayName(t *testing.T) {
	for kind, ways := range map[string][]string{
		"manifest's content": {"flipped", "cut", "emptied", "overgrown", "removed"},
		"manifest's record":  {"flipped", "overgrown", "removed"}, // it is empty: it cannot be cut
		"tag's record":       {"flipped", "cut", "emptied", "overgrown"},
	} {
		for _, how := range ways {
			for _, untagged := range []time.Duration{store.KeepUntagged, time.Hour} {
				t.Run(fmt.Sprintf("%s %s, untagged %v", kind, how, untagged), func(t *testing.T) {
					d := &damaged{t: t, path: t.TempDir(), layer: "layer"}
					d.registry = open(t, d.path, store.Config{Settings: store.Settings{Grace: time.Hour, Untagged: untagged}})
					d.image = d.imageIn("a")
					d.push("a", true)
					d.blob(t, "b", "nobody's")
					d.registry.image(t, "b", []string{"v1"}, "", "another layer")
					d.harm(map[string]string{
						"manifest's content": blobFile(d.digest()),
						"manifest's record":  strings.Replace(blobFile(d.digest()), "blobs", "manifests", 1) + "+a",
						"tag's record":       "repos/a/_tags/v1",
					}[kind], how)
					d.wait(3 * time.Hour)
					done, err := d.Collect(t.Context(), store.CollectOptions{Idle: true})
					must(t, err)
					kept := 1
					if kind == "manifest's record" && how != "removed" {
						kept = 0 // the manifest says what it is
					}
					if done.Kept != kept {
						t.Errorf("collected %+v, want %d repositories that were kept", done, kept)
					}
					if !d.reads(t, "a", "layer") || !d.reads(t, "a", "{}") {
						t.Error("a blob of the damaged image was collected")
					}
					if d.reads(t, "b", "nobody's") {
						t.Error("another repository was not collected")
					}
					d.push("a", false)
					if done, err = d.Collect(t.Context(), store.CollectOptions{Idle: true}); err != nil || done.Kept != 0 {
						t.Errorf("collected %+v, %v after the push, want no repository that was kept", done, err)
					}
					if got := d.manifestIn("a", byTag); got != right {
						t.Errorf("manifest by tag: %s", got)
					}
				})
			}
		}
	}
}
