package mirror_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/eblume/caddy-registry/core/mirror"
)

// A damaged record is as good as none: the upstream knows what it said.
func TestADamagedTagIsAskedForAndPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		f.stop()
		record := filepath.Join(f.path, "mirrors", "objects", "repos", repo, "_tags", "latest")
		if _, err := os.Stat(record); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(record, []byte(`{"digest":"latest"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		f.open(t, f.settings)
		f.up.Forget()
		if m, err := f.Manifest(fetch, repo, latest); err != nil || m.Descriptor.Digest != f.image {
			t.Errorf("got %v, %v, want %s", m.Descriptor, err, f.image)
		}
		f.saw(t, getTag)
		if got := strings.Count(f.log.String(), "tag in the store is damaged"); got != 1 {
			t.Errorf("logged %d times that the tag is damaged, want once: %s", got, f.log)
		}
		f.restart(t)
		if m, err := f.Manifest(fetch, repo, latest); err != nil || m.Descriptor.Digest != f.image {
			t.Errorf("after a restart got %v, %v, want %s", m.Descriptor, err, f.image)
		}
		f.saw(t) // the record is whole again
	})
}
