// Package clients runs the real clients, as their users call them, against the built binary:
// push, pull, multi-arch copy, delete. An independent reader compares the received content with
// the sent content, digest by digest.
//
// Each client has its own home directory and connects only to loopback. The log of TestVersions
// has the versions.
package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is a server with the reader that checks it.
type registry struct {
	*server.Server
	client *client.Client
}

func start(t *testing.T) registry {
	t.Helper()
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	return registry{s, c}
}

// ref is a reference as clients write it.
func (r registry) ref(name string) string { return r.Host + "/" + name }

// holds fails the test unless repo has want under ref, whole: every manifest and blob
// below it is read and verified.
func (r registry) holds(t *testing.T, repo, ref string, want digest.Digest) {
	t.Helper()
	got, err := r.verify(t.Context(), repo, ref)
	if err != nil {
		t.Fatalf("%s:%s: %v", repo, ref, err)
	}
	if got != want {
		t.Fatalf("%s:%s is %s, want %s", repo, ref, got, want)
	}
}

// lacks fails the test unless repo has no manifest under ref.
func (r registry) lacks(t *testing.T, repo, ref string) {
	t.Helper()
	_, _, err := r.client.Manifest(t.Context(), repo, ref)
	var status *client.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusNotFound {
		t.Fatalf("%s:%s: %v, want status 404", repo, ref, err)
	}
}

// verify reads the manifest of ref and everything below it.
func (r registry) verify(ctx context.Context, repo, ref string) (digest.Digest, error) {
	content, mediaType, err := r.client.Manifest(ctx, repo, ref)
	if err != nil {
		return "", err
	}
	// One shape for images and indexes, of OCI and of Docker.
	var node struct {
		MediaType string
		Config    *ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.Unmarshal(content, &node); err != nil {
		return "", err
	}
	if node.MediaType != "" && node.MediaType != mediaType {
		return "", fmt.Errorf("served as %s, but its mediaType is %s", mediaType, node.MediaType)
	}
	for _, child := range node.Manifests {
		if _, err := r.verify(ctx, repo, child.Digest.String()); err != nil {
			return "", err
		}
	}
	blobs := node.Layers
	if node.Config != nil {
		blobs = append(blobs, *node.Config)
	}
	for _, blob := range blobs {
		if _, err := r.client.Blob(ctx, repo, blob.Digest); err != nil {
			return "", err
		}
	}
	return digest.FromBytes(content), nil
}

// removeLimit bounds the wait for processes that a client left running.
const removeLimit = time.Minute

// home is where one client keeps everything.
type home struct {
	dir string
	env []string
}

func newHome(t *testing.T) home {
	t.Helper()
	dir, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Podman leaves a process that cleans up, and writes here, for a moment.
		if err := server.Eventually(removeLimit, func() (bool, error) { return os.RemoveAll(dir) == nil, nil }); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	auth := filepath.Join(dir, "auth.json")
	// podman and skopeo fail on a variable that names a file which is not there.
	if err := os.WriteFile(auth, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return home{dir, append(os.Environ(),
		"HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_RUNTIME_DIR="+dir,
		"REGISTRY_AUTH_FILE="+auth, "DOCKER_CONFIG="+dir, "REGCTL_CONFIG="+filepath.Join(dir, "regctl.json"),
	)}
}

// path is a place below the home.
func (h home) path(name string) string { return filepath.Join(h.dir, name) }

// run runs a client to its end and returns what it wrote to its output.
func (h home) run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := h.try(t, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try is run for a command that may fail.
func (h home) try(t *testing.T, tool string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), server.Tool(t, tool), args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", tool, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

func TestVersions(t *testing.T) {
	for _, c := range [][]string{
		{"skopeo", "--version"}, {"podman", "--version"}, {"buildah", "--version"},
		{"crane", "version"}, {"oras", "version"}, {"regctl", "version", "--format", "{{.VCSTag}}"},
		{"registry", "--version"}, {"ctr", "--version"}, {"dockerd", "--version"}, {"docker", "--version"}, {"runc", "--version"},
	} {
		t.Run(c[0], func(t *testing.T) {
			line, _, _ := strings.Cut(newHome(t).run(t, c[0], c[1:]...), "\n")
			if line == "" {
				t.Error("no version")
			}
			t.Log(line)
		})
	}
}
