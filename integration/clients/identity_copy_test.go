package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// command is a client's command of which nothing but its success matters.
func command(t *testing.T, h home, tool string, args ...string) error {
	t.Helper()
	_, err := h.try(t, tool, args...)
	return err
}

func TestSkopeoSignsIn(t *testing.T) {
	r, h := guarded(t)
	signing{
		login: func(t *testing.T, h home, host string, who caller) error {
			return command(t, h, "skopeo", "login", "--username", who.user, "--password", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			return command(t, h, "skopeo", "--insecure-policy", "copy", "--preserve-digests", "dir:"+writeDirectory(t, image), "docker://"+ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error {
			return command(t, h, "skopeo", "--insecure-policy", "copy", "docker://"+ref, "dir:"+t.TempDir())
		},
		remove: func(t *testing.T, h home, _ caller, ref string, _ digest.Digest) error {
			return command(t, h, "skopeo", "delete", "docker://"+ref)
		},
	}.keepsTiers(t, r, h)
}

func TestCraneSignsIn(t *testing.T) {
	r, h := guarded(t)
	signing{
		login: func(t *testing.T, h home, host string, who caller) error {
			return command(t, h, "crane", "auth", "login", "--username", who.user, "--password", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			return command(t, h, "crane", "push", writeLayout(t, image), ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error {
			return command(t, h, "crane", "pull", "--format", "oci", ref, t.TempDir())
		},
		remove: func(t *testing.T, h home, _ caller, ref string, d digest.Digest) error {
			return command(t, h, "crane", "delete", strings.TrimSuffix(ref, ":v1")+"@"+d.String())
		},
	}.keepsTiers(t, r, h)
}

func TestOrasSignsIn(t *testing.T) {
	r, h := guarded(t)
	signing{
		login: func(t *testing.T, h home, host string, who caller) error {
			return command(t, h, "oras", "login", "--username", who.user, "--password", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			return command(t, h, "oras", "cp", "--from-oci-layout", writeLayout(t, image)+":v1", ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error {
			return command(t, h, "oras", "cp", "--to-oci-layout", ref, t.TempDir()+":v1")
		},
		remove: func(t *testing.T, h home, _ caller, ref string, _ digest.Digest) error {
			return command(t, h, "oras", "manifest", "delete", "--force", ref)
		},
	}.keepsTiers(t, r, h)
}

func TestRegctlSignsIn(t *testing.T) {
	r, h := guarded(t)
	signing{
		login: func(t *testing.T, h home, host string, who caller) error {
			return command(t, h, "regctl", "registry", "login", "--user", who.user, "--pass", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			return command(t, h, "regctl", "image", "copy", "ocidir://"+writeLayout(t, image)+":v1", ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error {
			return command(t, h, "regctl", "image", "copy", ref, "ocidir://"+t.TempDir()+":v1")
		},
		remove: func(t *testing.T, h home, _ caller, ref string, _ digest.Digest) error {
			return command(t, h, "regctl", "manifest", "delete", "--force-tag-dereference", ref)
		},
	}.keepsTiers(t, r, h)
}

// curl acts like a script: it sends the key as a Bearer token, without the token endpoint.
func curl(t *testing.T, h home, who caller, args ...string) error {
	t.Helper()
	common := []string{"--silent", "--show-error", "--fail-with-body", "--write-out", "%{http_code}"}
	for _, variable := range h.env {
		if file, ok := strings.CutPrefix(variable, "SSL_CERT_FILE="); ok {
			common = append(common, "--cacert", file)
		}
	}
	if who.secret != "" {
		common = append(common, "--header", "Authorization: Bearer "+who.secret)
	}
	return command(t, h, "curl", append(common, args...)...)
}

// place is the URL of a reference with a tag, below kind.
func place(ref, kind, name string) string {
	host, rest, _ := strings.Cut(ref, "/")
	repo, _, _ := strings.Cut(rest, ":")
	return "https://" + host + "/v2/" + repo + "/" + kind + "/" + name
}

// curlPush pushes an image blob by blob, and then its manifest.
func curlPush(t *testing.T, h home, who caller, image v1.Image, ref string) error {
	t.Helper()
	blobs := filepath.Join(writeLayout(t, image), "blobs", "sha256")
	path := filepath.Join(blobs, digestOf(t, image).Encoded())
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, blob := range append(manifest.Layers, manifest.Config) {
		err := curl(t, h, who, "--header", "Content-Type: application/octet-stream",
			"--data-binary", "@"+filepath.Join(blobs, blob.Digest.Encoded()), place(ref, "blobs", "uploads/")+"?digest="+blob.Digest.String())
		if err != nil {
			return err
		}
	}
	return curl(t, h, who, "--request", "PUT", "--header", "Content-Type: "+manifest.MediaType,
		"--data-binary", "@"+path, place(ref, "manifests", ref[strings.LastIndex(ref, ":")+1:]))
}

func TestCurlSignsIn(t *testing.T) {
	r, h := guarded(t)
	signing{
		push: curlPush,
		pull: func(t *testing.T, h home, who caller, ref string) error {
			return curl(t, h, who, place(ref, "manifests", "v1"))
		},
		remove: func(t *testing.T, h home, who caller, ref string, d digest.Digest) error {
			return curl(t, h, who, "--request", "DELETE", place(ref, "manifests", d.String()))
		},
	}.keepsTiers(t, r, h)
}
