package commands

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/layout2"
	"github.com/eblume/caddy-registry/integration/server"
)

// tree describes each file below a directory: its mode, its time and its bytes. The lock is left
// out: the process that holds it writes its id there, before it knows anything else.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "lock" {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		found[path] = fmt.Sprintf("%s %s %x", info.Mode(), info.ModTime(), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// same checks that two descriptions of a directory are the same.
func same(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, was := range before {
		if after[path] != was {
			t.Errorf("%s was %s and is %q", path, was, after[path])
		}
	}
	for path := range after {
		if before[path] == "" {
			t.Errorf("%s is new", path)
		}
	}
}

// examined are commands that open a storage if no process has it open.
var examined = []string{"gc", "gc --dry-run", "doctor", "verify", "key list", "user list", "key create --user me --group admins"}

// A storage whose version this program does not know is refused before anything in it is
// changed, by a sentence with both versions and a remedy.
func TestAnUnknownLayoutIsRefusedUntouched(t *testing.T) {
	for _, row := range []struct {
		name, file, content, want string
	}{
		{"newer", "layout.json", `{"version":4}`,
			"has layout version 4, but this program supports versions up to 3: run the newer program that wrote it, or restore a copy"},
		{"never released", "layout.json", `{"version":1}`,
			"has layout version 1, which was never released, but this program supports only versions from 2: copy its images"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := server.Start(t, server.Options{Caddyfile: server.Open(t)})
			c := client.New(s.URL)
			defer c.Close()
			if err := c.PushImage(t.Context(), "team/app", "v1", client.NewImage(1, 1, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(patience); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.Data, row.file)
			known, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			before := tree(t, s.Data)
			started := server.Launch(t, server.Options{Caddyfile: server.Open(t), Data: s.Data})
			if err := started.Wait(patience); err == nil || !strings.Contains(started.Log(), row.want) {
				t.Errorf("run ended with %v, want the reason %q:\n%s", err, row.want, started.Log())
			}
			config := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(config, []byte(server.Open(t)), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, line := range examined {
				out, said, status := run(t, s, config, strings.Fields(line)...)
				if status == 0 || !strings.Contains(out+said, row.want) {
					t.Errorf("%s: got status %d, %s%s, want the reason %q", line, status, out, said, row.want)
				}
			}
			same(t, before, tree(t, s.Data))

			// The right program goes on as if nothing had happened.
			if err := os.WriteFile(file, known, 0o600); err != nil {
				t.Fatal(err)
			}
			again := server.Start(t, server.Options{Caddyfile: server.Open(t), Data: s.Data})
			c = client.New(again.URL)
			defer c.Close()
			if _, err := c.PullImage(t.Context(), "team/app", "v1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A storage of the older layout is converted by the first process that opens it, also by a
// command, and has its images and referrers afterwards.
func TestAnOlderLayoutIsConverted(t *testing.T) {
	for _, first := range append([]string{"run"}, examined...) {
		t.Run(first, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			w := layout2.New(t, data, layout2.Private)
			config := w.Blob("team/app", []byte("{}"))
			manifest := func(fields string) []byte {
				return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[]%s}`,
					ocispec.MediaTypeImageManifest, config, fields)
			}
			image := w.Manifest("team/app", "v1", ocispec.MediaTypeImageManifest, manifest(""))
			const signature = "application/vnd.example.signature"
			signed := manifest(fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":%d}`,
				signature, ocispec.MediaTypeImageManifest, image, len(manifest(""))))
			referrer := w.Manifest("team/app", "", ocispec.MediaTypeImageManifest, signed)
			w.Referrer("team/app", image, ocispec.Descriptor{
				MediaType: ocispec.MediaTypeImageManifest, ArtifactType: signature, Digest: referrer, Size: int64(len(signed)),
			})

			if first != "run" {
				s := server.Launch(t, server.Options{Caddyfile: server.Open(t), Data: t.TempDir()}) // for its environment
				s.Kill()
				s.Data = data
				file := filepath.Join(t.TempDir(), "Caddyfile")
				if err := os.WriteFile(file, []byte(server.Open(t)), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, said, status := run(t, s, file, strings.Fields(first)...); status != 0 && first != "doctor" {
					t.Fatalf("got status %d, %s%s", status, out, said)
				}
			}
			s := server.Start(t, server.Options{Caddyfile: server.Open(t), Data: data})
			if text, err := os.ReadFile(filepath.Join(data, "layout.json")); err != nil || !strings.Contains(string(text), `"version":3`) {
				t.Errorf("layout.json has %s, %v, want version 3", text, err)
			}
			c := client.New(s.URL)
			defer c.Close()
			if got, err := c.PullImage(t.Context(), "team/app", "v1"); err != nil || got != image {
				t.Errorf("got %s and %v, want %s", got, err, image)
			}
			if got := referrers(t, s, image); len(got) != 1 || got[0] != referrer {
				t.Errorf("got the referrers %v, want %s", got, referrer)
			}
		})
	}
}

// referrers lists those of a subject in team/app.
func referrers(t *testing.T, s *server.Server, subject digest.Digest) (found []digest.Digest) {
	t.Helper()
	status, body := request(t, s, "GET", "/v2/team/app/referrers/"+subject.String(), "")
	var index ocispec.Index
	if err := json.Unmarshal([]byte(body), &index); err != nil || status != 200 {
		t.Fatalf("referrers: %d %s", status, body)
	}
	for _, one := range index.Manifests {
		found = append(found, one.Digest)
	}
	return found
}
