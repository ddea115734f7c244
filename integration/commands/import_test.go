package commands

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// replacing is a registry that takes the place of a zot.
const replacing = `{
	oci {
		storage file {$REGISTRY_DATA}
		min_free 1
		gc {
			grace 1s
		}
		private blumeops/** single
		mirror docker.io
		mirror ghcr.io
		policy {
			allow anonymous read
			allow group artifact-workloads read create
			allow user eblume *
			allow key forgejo *
			allow group laptop *
		}
		local_user eblume $2a$10$Gg7WK3iI7OBPCL11XkASO.GoD.hlcxNFVoY1QK03x9QDZkyf9Y80K laptop
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`

// replacingWith is replacing with these upstreams of its two mirrors.
func replacingWith(hub, ghcr *upstreamtest.Upstream) string {
	return strings.NewReplacer(
		"mirror docker.io", "mirror docker.io {\n\t\t\tupstream "+hub.URL+"\n\t\t}",
		"mirror ghcr.io", "mirror ghcr.io {\n\t\t\tupstream "+ghcr.URL+"\n\t\t}",
		"allow anonymous read", "allow anonymous read fetch",
	).Replace(replacing)
}

// zotDirectory unpacks a directory that zot has written.
func zotDirectory(t *testing.T) (root string, want map[string]map[string]string) {
	t.Helper()
	fixture := filepath.Join(server.Root(t), "core", "transfer", "zot", "testdata", "zot-2.1.20")
	root = t.TempDir()
	if out, err := exec.Command("tar", "-xzf", filepath.Join(fixture, "rootdir.tar.gz"), "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(fixture, "expected.json"))
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root, want
}

// push tries to put an index as blumeops/app:tag with a key, and returns the status.
func pushWith(t *testing.T, s *server.Server, key, tag string) int {
	t.Helper()
	r, err := http.NewRequest("PUT", s.URL+"/v2/blumeops/app/manifests/"+tag, strings.NewReader(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("eblume:"+key)))
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// The images of a zot and its API keys move in, with the server running and without.
func TestMovingFromZot(t *testing.T) {
	const (
		forgejo = "zak_2bb9220d438b4c2fbaed8dc895894a16"
		laptop  = "zak_8bd09bf6d8e74f17abc786a987325fca"
	)
	root, want := zotDirectory(t)
	empty := upstreamtest.New(t, upstreamtest.Config{})
	replacing := replacingWith(empty, empty)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(replacing), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: replacing})
	if status := pushWith(t, s, forgejo, "before"); status != http.StatusUnauthorized {
		t.Errorf("zot's key before the import: %d", status)
	}

	out, said, status := run(t, s, config, "import", "zot", root, "--dry-run", "--group", "artifact-workloads")
	if status != 1 || !strings.Contains(out, "would be imported") || !strings.Contains(said, "left out") {
		t.Errorf("dry run: status %d, %s%s", status, out, said)
	}
	if status, body := request(t, s, "GET", "/v2/_catalog", ""); !strings.Contains(body, `"repositories":[]`) {
		t.Errorf("after the dry run: %d %s", status, body)
	}

	out, said, status = run(t, s, config, "import", "zot", root, "--group", "artifact-workloads")
	if status != 1 || !strings.Contains(out, "LEFT OUT blumeops/damaged:") || !strings.Contains(out, "not served docker.io/library/nginx:1.27: the upstream does not show") {
		t.Errorf("import: status %d, %s%s", status, out, said)
	}
	t.Log(out)
	for repo, refs := range want {
		for ref, digest := range refs {
			mirrored := strings.Contains(repo, ".io/")
			if mirrored || digest == "damaged" {
				continue
			}
			if status, _ := request(t, s, "HEAD", "/v2/"+repo+"/manifests/"+ref, ""); status != http.StatusOK {
				t.Errorf("%s %s: %d", repo, ref, status)
			}
		}
	}
	// Labels and owners are those of rules, of a group and of a local user, and give nothing.
	for name, key := range map[string]string{"forgejo": forgejo, "laptop": laptop} {
		for tag, want := range map[string]int{name: http.StatusCreated, "stable": http.StatusForbidden} {
			if status := pushWith(t, s, key, tag); status != want {
				t.Errorf("a push of %s with zot's key %s: %d, want %d", tag, name, status, want)
			}
		}
	}

	var keys []struct{ ID, User, Name string }
	out, _, _ = run(t, s, config, "key", "list", "--json")
	if err := json.Unmarshal([]byte(out), &keys); err != nil || len(keys) != 3 {
		t.Fatalf("key list: %v, %s", err, out)
	}
	for _, key := range keys {
		if key.Name == "forgejo" {
			run(t, s, config, "key", "revoke", key.ID)
		}
	}
	if err := s.Stop(patience); err != nil {
		t.Fatal(err)
	}

	pulls := filepath.Join(s.Data, "private", "objects", "pulls", "blumeops", "app", "_pulls")
	if data, err := os.ReadFile(pulls); err != nil || !strings.Contains(string(data), "2026-11-23T16:28:21") {
		t.Errorf("the last pulls in zot: %s, %v", data, err)
	}
	if log := s.Log(); !strings.Contains(log, "import ended") {
		t.Errorf("the log says nothing about the import: %s", log)
	}

	// Without a server, the command opens the storage itself.
	out, said, status = run(t, s, config, "import", "zot", root, "--group", "admins", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last struct {
		Result struct {
			Summary map[string]int64
			Keys    []struct{ Label, Outcome string }
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v: %s%s", err, out, said)
	}
	if sum := last.Result.Summary; status != 1 || sum["imported"] != 0 || sum["left_out"] != 1 || sum["found"] != int64(len(lines)-1) {
		t.Errorf("the second import: status %d, %v of %d lines", status, sum, len(lines))
	}
	for _, key := range last.Result.Keys {
		if key.Outcome != "unchanged" {
			t.Errorf("a key was imported again: %+v", key)
		}
	}
	s = server.Start(t, server.Options{Caddyfile: replacing, Data: s.Data})
	if status := pushWith(t, s, forgejo, "after"); status != http.StatusUnauthorized {
		t.Errorf("the revoked key: %d", status)
	}
	// The collector takes nothing that was imported.
	if err := server.Eventually(patience, func() (bool, error) {
		_, _, status := run(t, s, config, "gc")
		return status == 0, nil
	}); err != nil {
		t.Error(err)
	}
	if status, _ := request(t, s, "HEAD", "/v2/blumeops/multi/manifests/v2.0.0", ""); status != http.StatusOK {
		t.Errorf("after a collection: %d", status)
	}
}

// publish gives an upstream the one image of a repository of a zot, under the tag that it has there,
// and returns the digests of its blobs.
func publish(t *testing.T, root, from string, up *upstreamtest.Upstream, remote string) (blobs []string) {
	t.Helper()
	read := func(name string, into any) []byte {
		data, err := os.ReadFile(filepath.Join(root, from, name))
		if err == nil && into != nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      digest.Digest     `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	}
	var index struct{ Manifests []descriptor }
	read("index.json", &index)
	for _, m := range index.Manifests {
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		data := read("blobs/sha256/"+m.Digest.Encoded(), &manifest)
		up.Manifest(remote, m.MediaType, data, m.Annotations["org.opencontainers.image.ref.name"])
		for _, blob := range append(manifest.Layers, manifest.Config) {
			up.BlobAs(remote, blob.Digest, read("blobs/sha256/"+blob.Digest.Encoded(), nil))
			blobs = append(blobs, string(blob.Digest))
		}
	}
	return blobs
}

// Images that a zot has cached are served without a download, if the upstream shows them, with the
// server running and without.
func TestMovingWhatAZotHasCached(t *testing.T) {
	root, want := zotDirectory(t)
	hub, ghcr := upstreamtest.New(t, upstreamtest.Config{}), upstreamtest.New(t, upstreamtest.Config{})
	blobs := publish(t, root, "docker.io/nginx", hub, "library/nginx")
	publish(t, root, "blumeops/quartz", hub, "library/quartz") // not in zot's docker.io
	replacing := replacingWith(hub, ghcr)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	zots := filepath.Join(t.TempDir(), "zot.json")
	for name, text := range map[string]string{
		config: replacing,
		zots: `{"storage": {"rootDirectory": "` + root + `"}, "extensions": {"sync": {"registries": [
			{"urls": ["https://quay.io"], "onDemand": true, "preserveDigest": true, "content": [{"prefix": "**", "destination": "/quay.io"}]}]}}}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *server.Server, name string) int {
		status, _ := request(t, s, "GET", "/v2/docker.io/library/"+name, "")
		return status
	}
	contents := func() (n int) {
		for _, r := range hub.Recorded() {
			if r.Method == "GET" && r.Path != "/v2/" {
				n++
			}
		}
		return n
	}
	for _, running := range []bool{true, false} {
		s := server.Start(t, server.Options{Caddyfile: replacing})
		if !running {
			if err := s.Stop(patience); err != nil {
				t.Fatal(err)
			}
		}
		out, said, status := run(t, s, config, "import", "zot", "--zot-config", zots)
		for _, want := range []string{"not served ghcr.io/owner/tool:v3: the upstream does not show", "1 not served", "- Add `mirror quay.io`: zot fetches images from https://quay.io."} {
			if !strings.Contains(out, want) {
				t.Errorf("running %v: status %d, the output lacks %q: %s%s", running, status, want, out, said)
			}
		}
		if strings.Contains(out, "nginx") {
			t.Errorf("running %v: %s", running, out)
		}
		if !running {
			s = server.Start(t, server.Options{Caddyfile: replacing, Data: s.Data})
		}
		hub.Forget()
		for _, ref := range []string{"1.27", want["docker.io/nginx"]["1.27"]} {
			if status := get(s, "nginx/manifests/"+ref); status != http.StatusOK {
				t.Errorf("running %v: %s: %d", running, ref, status)
			}
		}
		for _, blob := range blobs {
			if status := get(s, "nginx/blobs/"+blob); status != http.StatusOK {
				t.Errorf("running %v: %s: %d", running, blob, status)
			}
		}
		if n := contents(); n > 0 {
			t.Errorf("running %v: the upstream has sent %d manifests and blobs: %q", running, n, hub.Requests())
		}
		if status := get(s, "quartz/manifests/v1.0.0"); status != http.StatusOK || contents() == 0 {
			t.Errorf("running %v: an image that was not seeded: %d, and %d requests", running, status, contents())
		}
		if status, _ := request(t, s, "GET", "/v2/ghcr.io/owner/tool/manifests/v3", ""); status != http.StatusNotFound {
			t.Errorf("running %v: what the upstream does not have: %d", running, status)
		}
		out, _, status = run(t, s, config, "import", "zot", root, "--zot-config", zots, "--json", "--dry-run")
		if !strings.Contains(out, `"not_served":1`) || !strings.Contains(out, "`mirror quay.io`") || status != 1 {
			t.Errorf("running %v: status %d, %s", running, status, out)
		}
		if _, said, status = run(t, s, config, "import", "zot", t.TempDir(), "--zot-config", zots); status != 1 || !strings.Contains(said, "leave out <rootdir>") {
			t.Errorf("running %v: two directories: status %d, %s", running, status, said)
		}
	}
}

// TestAnImportThatIsKilled kills the command at some of its lines; the next one goes on. In the end
// everything is here, each key once, and zot's directory is as it was.
func TestAnImportThatIsKilled(t *testing.T) {
	root, want := zotDirectory(t)
	before := look(t, root)
	empty := upstreamtest.New(t, upstreamtest.Config{})
	replacing := replacingWith(empty, empty)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(replacing), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: replacing})
	if err := s.Stop(patience); err != nil {
		t.Fatal(err)
	}
	kills := []int{1, 9}
	if os.Getenv("REGISTRY_SLOW") != "" {
		kills = []int{0, 1, 2, 3, 5, 8, 9, 11, 13, 15, 17, 19, 20, 21}
	}
	for _, lines := range kills {
		cmd := s.Command(t.Context(), t, "registry", "import", "zot", root, "--json", "--config", config)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		for read := bufio.NewScanner(out); lines > 0 && read.Scan(); lines-- {
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, or was faster
	}
	out, said, status := run(t, s, config, "import", "zot", root)
	if status != 1 || !strings.Contains(out, "LEFT OUT blumeops/damaged:") || !strings.Contains(out, "1 left out") {
		t.Errorf("the last import: status %d, %s%s", status, out, said)
	}
	if after := look(t, root); !maps.Equal(after, before) {
		t.Errorf("zot's directory was %v and is %v", before, after)
	}
	s = server.Start(t, server.Options{Caddyfile: replacing, Data: s.Data})
	for repo, refs := range want {
		for ref, digest := range refs {
			if strings.Contains(repo, ".io/") || digest == "damaged" {
				continue
			}
			if status, _ := request(t, s, "HEAD", "/v2/"+repo+"/manifests/"+ref, ""); status != http.StatusOK {
				t.Errorf("%s %s: %d", repo, ref, status)
			}
		}
	}
	var keys []struct{ ID string }
	out, _, _ = run(t, s, config, "key", "list", "--json")
	if err := json.Unmarshal([]byte(out), &keys); err != nil || len(keys) != 3 {
		t.Errorf("key list: %v, %s", err, out)
	}
	var report struct{ Damage []any }
	out, said, status = run(t, s, config, "verify", "--json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || len(report.Damage) > 0 {
		t.Errorf("verify: status %d, %v, %s%s", status, err, out, said)
	}
}

// look is what an import could change in a directory: bytes, modes and modification times.
func look(t *testing.T, root string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := entry.Info()
		if err != nil {
			return err
		}
		var data []byte
		if fi.Mode().IsRegular() {
			data, err = os.ReadFile(name)
		}
		seen[name] = fmt.Sprintf("%v %d %x", fi.Mode(), fi.ModTime().UnixNano(), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// An import that is refused is explained in one sentence.
func TestImportsThatAreRefused(t *testing.T) {
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(replacing), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: replacing})
	root, _ := zotDirectory(t)
	if err := os.WriteFile(filepath.Join(root, "meta.db"), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		status int
		says   string
		args   []string
	}{
		{2, "missing command;", nil},
		{2, "usage:", []string{"zot"}},
		{2, "invalid --user", []string{"zot", root, "--user", "me"}},
		{1, "no such file or directory", []string{"zot", filepath.Join(root, "absent")}},
		{1, "meta.db", []string{"zot", root}},
	} {
		_, said, status := run(t, s, config, append([]string{"import"}, row.args...)...)
		if status != row.status || !strings.Contains(said, row.says) || strings.Count(strings.TrimSpace(said), "\n") > 0 {
			t.Errorf("%q: status %d, %q, want %d and %q", row.args, status, said, row.status, row.says)
		}
	}
}
