package store_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// The index may be deleted, so a place where it cannot be written does not prevent the
// start.
func TestAStoreOpensWithoutAPlaceForItsIndex(t *testing.T) {
	notADirectory := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(notADirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	t.Cleanup(func() { // after the store was closed: the log is complete
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), notADirectory) {
			t.Errorf("the log says %q, want a warning that names the place", log.String())
		}
	})
	s := openStore(t, newMemory(time.Now), store.Config{Names: indexAt(t, filepath.Join(notADirectory, "private.db"), logger), Log: logger})
	put := core.ManifestPut{MediaType: "application/vnd.oci.image.index.v1+json",
		Bytes: []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), Tags: []string{"v1"}}
	if _, err := s.PutManifest(t.Context(), "a", put); err != nil {
		t.Fatal(err)
	}
	for tag, err := range s.Tags(t.Context(), "a", "") {
		if err != nil || tag != "v1" {
			t.Errorf("got tag %q and %v", tag, err)
		}
	}
}
