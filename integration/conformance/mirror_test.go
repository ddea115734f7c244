package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// mirroring has one mirror, of another registry on loopback. A mirror's name has no
// port, so it is not the address.
const mirroring = `{
	oci {
		storage file {$REGISTRY_DATA}
		mirror upstream.test {
			upstream UPSTREAM
		}
		policy {
			allow anonymous read fetch
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	oci_registry
}
`

// leastReadOnly is fewer tests than the suite passes when it may only read.
const leastReadOnly = 8

// TestMirror runs the part of the suite that only reads against a mirror whose
// upstream is a second process of the product: a chain of two caches.
func TestMirror(t *testing.T) {
	suite := server.Tool(t, "conformance")
	upstream := server.Start(t, server.Options{})
	const repo = "team/app"
	image := client.NewImage(1, 2, 4<<10)
	c := client.New(upstream.URL)
	t.Cleanup(c.Close)
	if err := c.PushImage(t.Context(), repo, "v1", image); err != nil {
		t.Fatal(err)
	}
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: image.Digest(), Size: int64(len(image.Manifest))}
	artifact, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.example.sbom",
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}, Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PushBlob(t.Context(), repo, ocispec.DescriptorEmptyJSON.Data); err != nil {
		t.Fatal(err)
	}
	about := digest.FromBytes(artifact)
	if err := c.PutManifest(t.Context(), repo, about.String(), ocispec.MediaTypeImageManifest, artifact); err != nil {
		t.Fatal(err)
	}
	var blobs []string
	for _, blob := range image.Blobs {
		blobs = append(blobs, digest.FromBytes(blob).String())
	}
	s := server.Start(t, server.Options{Caddyfile: strings.Replace(mirroring, "UPSTREAM", upstream.URL, 1)})
	for _, round := range []string{"cold", "warm"} {
		t.Run(round, func(t *testing.T) {
			results := t.TempDir()
			cmd := exec.CommandContext(t.Context(), suite)
			cmd.Dir = results
			cmd.Env = append(os.Environ(),
				"OCI_REGISTRY="+s.Host, "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_RESULTS_DIR="+results,
				"OCI_REPO1=upstream.test/"+repo, "OCI_REPO2=upstream.test/"+repo+"-other",
				// Without a filter the suite, when it may not push, crashes after its tests,
				// before it writes the report: seen at the version in go.txt.
				"OCI_FILTER_TEST=OCI Conformance Test/read-only",
				"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
				"OCI_RO_DATA_TAGS=v1", "OCI_RO_DATA_MANIFESTS="+image.Digest().String()+" "+about.String(),
				"OCI_RO_DATA_BLOBS="+strings.Join(blobs, " "), "OCI_RO_DATA_REFERRERS="+image.Digest().String(),
			)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("suite: %v", err)
			}
			r, err := read(filepath.Join(results, "junit.xml"))
			if err != nil {
				t.Fatalf("%v; the suite wrote:\n%s", err, tail(out))
			}
			passed := r.Tests - r.Failures - r.Errors - r.Skipped - r.Disabled
			t.Logf("%d passed, %d failures, %d errors; %d skipped and %d disabled, which push or delete", passed, r.Failures, r.Errors, r.Skipped, r.Disabled)
			if r.Failures+r.Errors > 0 || passed < leastReadOnly {
				t.Errorf("%d passed, %d failures, %d errors; want at least %d and none", passed, r.Failures, r.Errors, leastReadOnly)
			}
			for _, test := range r.Cases {
				if test.Status != "passed" && test.Status != "skipped" && test.Status != "disabled" {
					t.Errorf("%s: %s: %s\n%s", test.Name, test.Status, test.Said, tail([]byte(test.Log)))
				}
			}
			if t.Failed() {
				t.Log(string(tail(out)))
			}
		})
	}
	// Content that the suite read from the upstream is stored: without the upstream the mirror
	// gives the same answers.
	upstream.Kill()
	m := client.New(s.URL)
	t.Cleanup(m.Close)
	if got, err := m.PullImage(t.Context(), "upstream.test/"+repo, "v1"); err != nil || got != image.Digest() {
		t.Errorf("without the upstream: got %s, %v; want %s", got, err, image.Digest())
	}
}
