package commands

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// maxImportMemory bounds the resident memory of an import, in KiB, however many images there are.
const maxImportMemory = 200 << 10

// manyImages writes a zot's directory of small images, ten tags in each repository.
func manyImages(t *testing.T, images int) string {
	t.Helper()
	root := t.TempDir()
	for repo := range images / 10 {
		dir := filepath.Join(root, "blumeops", fmt.Sprintf("app%d", repo))
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o700); err != nil {
			t.Fatal(err)
		}
		write := func(name string, content []byte) {
			t.Helper()
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		type entry struct {
			MediaType   string            `json:"mediaType"`
			Digest      string            `json:"digest"`
			Size        int               `json:"size"`
			Annotations map[string]string `json:"annotations"`
		}
		var index struct {
			SchemaVersion int     `json:"schemaVersion"`
			Manifests     []entry `json:"manifests"`
		}
		index.SchemaVersion = 2
		for tag := range 10 {
			image := client.NewImage(uint64(repo*10+tag), 2, 4<<10)
			for _, blob := range append(image.Blobs, image.Manifest) {
				sum := sha256.Sum256(blob)
				write(filepath.Join(blobs, hex.EncodeToString(sum[:])), blob)
			}
			index.Manifests = append(index.Manifests, entry{
				"application/vnd.oci.image.manifest.v1+json", image.Digest().String(), len(image.Manifest),
				map[string]string{"org.opencontainers.image.ref.name": fmt.Sprintf("v%d", tag)},
			})
		}
		text, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(dir, "index.json"), text)
		write(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	}
	return root
}

// Memory does not grow with the number of images. The command imports alone, so that its own
// memory is all of it.
func TestManyImagesMoveInWithBoundedMemory(t *testing.T) {
	images := 1000
	if os.Getenv("REGISTRY_SLOW") != "" {
		images = 10_000
	}
	root := manyImages(t, images)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(replacing), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: replacing})
	if err := s.Stop(patience); err != nil {
		t.Fatal(err)
	}
	cmd := s.Command(t.Context(), t, "registry", "import", "zot", root, "--json", "--config", config)
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	if err != nil {
		t.Fatalf("import: %v: %.1000s", err, out)
	}
	lines := 0
	for _, c := range out {
		if c == '\n' {
			lines++
		}
	}
	if lines != images+1 {
		t.Errorf("%d lines were printed for %d images", lines, images)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("%d images in %s, %s of CPU, with %d MiB", images, took, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), used.Maxrss>>10)
	if used.Maxrss > maxImportMemory {
		t.Errorf("the import took %d KiB of memory, want at most %d", used.Maxrss, maxImportMemory)
	}
}
