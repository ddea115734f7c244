// Package docs runs the blocks of the documents that are marked `sh run`, as a reader does:
// in their order, in one shell, in a directory that has nothing but the binary and the
// repository's Caddyfile, beside a server that was started with it.
package docs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// limit bounds the blocks of one document.
const limit = time.Minute

// documentedPort is the port in the documents; the server of a test has another.
const documentedPort = ":5050"

// marked is a block; one in a list is indented.
var marked = regexp.MustCompile("(?ms)^[ \t]*```sh run\n(.*?)^[ \t]*```$")

// scripts returns the blocks of each document that has any, in order.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	root := server.Root(t)
	found := map[string]string{}
	read := func(path string) error {
		text, err := os.ReadFile(path)
		for _, block := range marked.FindAllStringSubmatch(string(text), -1) {
			found[path] += block[1]
		}
		return err
	}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		return read(path)
	})
	if err == nil {
		err = read(filepath.Join(root, "README.md"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheBlocksOfTheDocumentsRun(t *testing.T) {
	server.Tool(t, "curl")
	server.Tool(t, "skopeo")
	all := scripts(t)
	if len(all) < 2 {
		t.Fatalf("found blocks in %d documents", len(all))
	}
	for path, script := range all {
		t.Run(filepath.Base(path), func(t *testing.T) {
			caddyfile := server.Caddyfile(t)
			s := server.Start(t, server.Options{Caddyfile: caddyfile})
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Dir(server.Binary(t)), filepath.Join(dir, "bin")); err != nil {
				t.Fatal(err)
			}
			script = strings.ReplaceAll(script, documentedPort, fmt.Sprintf(":%d", s.Port))
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-euxo", "pipefail", "-c", script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "REGISTRY_DATA="+s.Data, fmt.Sprintf("REGISTRY_PORT=%d", s.Port))
			cmd.WaitDelay = time.Second
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
