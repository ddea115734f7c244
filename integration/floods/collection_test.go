package floods

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/layout2"
)

// heavy is how many bytes each manifest of the collector's floods has.
const heavy = 3 << 20

// TestCollectionOfLargeManifests: a collection reads one manifest at a time, and remembers only
// digests that the repository holds, which are none here.
func TestCollectionOfLargeManifests(t *testing.T) {
	f := start(t, "", "gc {\n grace 1s\n}")
	ci := f.ci()
	f.together(count(32, 120), 4, func(i int) error {
		return ci.PutManifest(f.ctx, "team/app", fmt.Sprintf("t%d", i), indexType, indexOf(i, 9990, heavy))
	})
	f.collect()
	f.bounded()
}

// TestCollectionOfContentFromOldReleases: the rules of a push do not apply to stored content.
// It is served, collected, evicted and listed within the same memory.
func TestCollectionOfContentFromOldReleases(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	n := count(12, 120)
	var one []digest.Digest
	for _, tree := range []struct{ name, repo string }{{layout2.Private, "team/app"}, {layout2.Mirrors, "up.example/team/app"}} {
		w := layout2.New(t, data, tree.name)
		for i := range n {
			d := w.Manifest(tree.repo, fmt.Sprintf("t%d", i), indexType, indexOf(i, 24000, 0))
			if i == 0 {
				one = append(one, d)
			}
		}
	}
	// The mirror holds far more than it may, so a collection evicts nearly everything.
	f := start(t, data, mirrorOf(bombUpstream(t), "max_size 1MiB")+"\ngc {\n grace 1s\n}")
	c := f.anonymous()
	for i := range n {
		if _, _, err := c.Manifest(f.ctx, "team/app", fmt.Sprintf("t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Manifest(f.ctx, "up.example/team/app", one[1].String()); err != nil {
		t.Errorf("stored by the mirror: %v", err)
	}
	f.collect()
	for i := range n {
		if status, err := f.ask(c, http.MethodHead, fmt.Sprintf("/v2/team/app/manifests/t%d", i), "", nil); err != nil || status != http.StatusOK {
			t.Errorf("after the collection: status %d, %v", status, err)
		}
	}
	f.bounded()
}

// collect runs a collection in the server and waits for its end.
func (f *flood) collect() {
	f.t.Helper()
	if out, err := f.Command(f.ctx, f.t, "registry", "gc", "--storage", f.Data).CombinedOutput(); err != nil {
		f.t.Fatalf("gc: %v: %s", err, out)
	}
}
