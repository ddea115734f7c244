package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
)

// hold puts manifests with a tag each into a mirror's repository.
func hold(t *testing.T, trees *running.Trees, repo string, tags ...string) (ds []digest.Digest) {
	t.Helper()
	for _, tag := range tags {
		manifest := fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[],`+
				`"annotations":{"tag":%q}}`,
			ocispec.MediaTypeImageManifest, digest.FromString("{}"), tag)
		put := core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: manifest, Tags: []string{tag}}
		got, err := trees.Mirrors.PutManifest(t.Context(), repo, put)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, got.Descriptor.Digest)
	}
	return ds
}

func TestPurgeThroughTheRunningProcess(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	registrytest.At(t, port).PushImage("team/app", "v1", registrytest.RandomBytes(100))
	s := registrytest.Storage(t)
	trees, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	const nginx = "docker.io/library/nginx"
	ds := hold(t, trees, nginx, "one", "two", "three")
	for _, row := range []struct {
		name            string
		tags, manifests int
		left            int
	}{
		{"docker.io/nginx:one", 1, 0, 3},
		{"registry-1.docker.io/library/nginx@" + string(ds[1]), 1, 1, 2},
		{"docker.io/nginx", 1, 2, 0},
		{"index.docker.io/nginx", 0, 0, 0},
		{"ghcr.io/a/b:none", 0, 0, 0},
	} {
		out, told, status := registrytest.Run(t, "purge", row.name, "--json", "--storage", storage)
		var got control.PurgeReport
		if err := json.Unmarshal([]byte(out), &got); err != nil ||
			(status == registrytest.Done) != (row.tags+row.manifests > 0) {
			t.Fatalf("%s: got status %d, %s%s", row.name, status, out, told)
		}
		if len(got.Tags) != row.tags || len(got.Manifests) != row.manifests {
			t.Errorf("%s: got %+v", row.name, got)
		}
		left := 0
		for _, err := range trees.Mirrors.Manifests(t.Context(), nginx) {
			if err != nil {
				t.Fatal(err)
			}
			left++
		}
		if left != row.left {
			t.Errorf("%s: %d manifests are left, want %d", row.name, left, row.left)
		}
	}
	if _, told, status := registrytest.Run(t, "purge", "team/app:v1",
		"--storage", storage); status != registrytest.Failed || !strings.Contains(told, "delete") {
		t.Errorf("a private image: got status %d, %s, want a sentence that says to delete", status, told)
	}
	registrytest.At(t, port).Want(200, "GET", "/v2/team/app/manifests/v1", nil)
}

func TestPurgeAsACommand(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	registrytest.At(t, port).PushImage("team/app", "v1", registrytest.RandomBytes(100))
	s := registrytest.Storage(t)
	trees, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hold(t, trees, "docker.io/library/nginx", "one", "two")
	s.Release()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args   string
		status int
		out    string
	}{
		{"purge", registrytest.Misuse, ""},
		{"purge docker.io/nginx:one docker.io/nginx:two", registrytest.Misuse, ""},
		{"purge docker.io/NGINX", registrytest.Misuse, ""},
		{"purge docker.io/nginx@sha256:12", registrytest.Misuse, ""},
		{"purge team/app --storage " + storage, registrytest.Failed, ""},
		{"purge docker.io/nginx:one --storage " + storage, registrytest.Done,
			"docker.io/library/nginx: forgot 1 tags and 0 manifests, 0 B\n"},
		// A purge of missing content is not a success.
		{"purge docker.io/nginx:one --storage " + storage, registrytest.Failed, ""},
		{"purge docker.io/nginx@" + string(digest.FromString("none")) + " --storage " + storage,
			registrytest.Failed, ""},
		{"purge ghcr.io/a/b --storage " + storage, registrytest.Failed, ""},
		{"purge ghcr.io/a/b --json --storage " + storage, registrytest.Failed,
			`{"repository":"ghcr.io/a/b","tags":[],"manifests":[],"bytes":0}` + "\n"},
	} {
		out, _, status := registrytest.Run(t, strings.Fields(row.args)...)
		if status != row.status || out != row.out {
			t.Errorf("%s: got status %d and %q, want %d and %q", row.args, status, out, row.status, row.out)
		}
	}
	out, told, status := registrytest.Run(t, "purge", "docker.io/library/nginx", "--json", "--storage", storage)
	var report control.PurgeReport
	if status != registrytest.Done || json.Unmarshal([]byte(out), &report) != nil || len(report.Manifests) != 2 ||
		report.Bytes == 0 {
		t.Errorf("got status %d, %s%s", status, out, told)
	}
}

// Why there was nothing to forget is a sentence.
func TestPurgeSaysWhatIsNotHeld(t *testing.T) {
	storage := emptyStorage(t)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	write := func(oci string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(registrytest.Caddyfile(registrytest.FreePort(t), storage, oci, "")),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ name, oci, want string }{
		{"docker.io/nginx:none", "mirror docker.io", "nothing is cached for docker.io/nginx:none"},
		{"ghcr.io/a/b", "mirror docker.io\nmirror quay.io",
			"ghcr.io/a/b does not belong to a mirror; the names of mirrors begin with docker.io/, quay.io/"},
		{"ghcr.io/a/b", "", "the configuration has no mirror"},
	} {
		write(row.oci)
		_, told, status := registrytest.Run(t, "purge", row.name, "--config", config)
		if status != registrytest.Failed || !strings.Contains(told, row.want) {
			t.Errorf("%s: got status %d: %s", row.name, status, told)
		}
	}
}
