package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"
)

// zotWith makes the directory of a zot that has one image, team/app:v1.
func zotWith(t *testing.T, config string) string {
	t.Helper()
	root := t.TempDir()
	blobs := filepath.Join(root, "team", "app", "blobs", "sha256")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
		digest.FromString(config), len(config))
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`,
		digest.FromString(manifest), len(manifest))
	err := os.MkdirAll(blobs, 0o700)
	for path, content := range map[string]string{
		filepath.Join(blobs, digest.FromString(config).Encoded()):   config,
		filepath.Join(blobs, digest.FromString(manifest).Encoded()): manifest,
		filepath.Join(root, "team", "app", "index.json"):            index,
	} {
		if err == nil {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// An import leaves the reserve free, in the running registry and without one, and says what
// to do. The log has its sums.
func TestAnImportLeavesTheReserveFree(t *testing.T) {
	port, storage, zot := freePort(t), t.TempDir(), zotWith(t, "a config")
	config := filepath.Join(t.TempDir(), "Caddyfile")
	var log func() string
	wantLogged := func(fields ...string) {
		t.Helper()
		for line := range strings.Lines(log()) {
			if !slices.ContainsFunc(fields, func(field string) bool { return !strings.Contains(line, field) }) {
				return
			}
		}
		t.Errorf("no line has %q in the log: %s", fields, log())
	}
	text := func(reserve string) string {
		var text string
		text, log = logged(t, site(port, storage, allowAll+"\nlimits {\nreserve "+reserve+"\n}", ""))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return text
	}
	refused := func(where string) {
		t.Helper()
		out, told, status := runRegistry(t, "import", "zot", zot, "--config", config)
		if status != statusFailed || !strings.Contains(out, "LEFT OUT team/app:v1: blob "+digest.FromString("a config").String()+": no space left") ||
			!strings.Contains(told, "lower reserve under limits, and import again") || strings.Contains(out, "damaged") {
			t.Errorf("%s: status %d, %s%s", where, status, out, told)
		}
	}
	load(t, text("1000000TiB"))
	r := at(t, port)
	r.want(http.StatusNotFound, "GET", "/v2/team/app/manifests/v1", nil) // the storage is open
	refused("in the server")
	wantLogged("import ended early", `"from":"zot `+zot+`"`, `"found":1`, `"imported":0`, `"left_out":1`, "make room on the disk")
	r.want(http.StatusNotFound, "GET", "/v2/team/app/manifests/v1", nil)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	refused("without a server")
	load(t, text("0"))
	if out, told, status := runRegistry(t, "import", "zot", zot, "--config", config); status != statusDone {
		t.Errorf("with room: status %d, %s%s", status, out, told)
	}
	wantLogged(`"msg":"import ended"`, `"from":"zot `+zot+`"`, `"imported":1`, `"blobs":1`, `"bytes":8`)
	at(t, port).want(http.StatusOK, "GET", "/v2/team/app/manifests/v1", nil)
}
