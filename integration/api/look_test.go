package api

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// linesLimit bounds the lines of a block on a machine that may be busy.
const linesLimit = 2 * time.Minute

// The lines of docs/do/look.md are run as they are written, with this server instead of the example.
func TestTheLinesForLooking(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "look.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 || strings.Count(blocks[0][1], "caddy-registry registry ") < 8 || strings.Count(blocks[1][1], "curl ") < 8 {
		t.Fatalf("the page has other blocks: %q", blocks)
	}
	s := start(t)
	key, _ := s.Key(t, "ci", "ci")
	bin := t.TempDir()
	if err := os.Symlink(server.Binary(t), filepath.Join(bin, "caddy-registry")); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{
		{"REPOSITORY", "team/app:v1", "v1.1.0", "linux/arm64", "removed the tag team/app:v1", "GOES", "deleted team/app@"},
		{`"repositories":[{"name":"team/app"`, `"repository":"team/app","name":"v1"`, `"content":[`, `"rights":[{"action":"read","allowed":true,"rule":`, `"before":[{`, `"goes":[{`, `"tags":["v1"]`, `"manifest":true`},
	} {
		push(t, s, key, "team/app", image(t, 500), "v1")
		digest := push(t, s, key, "team/app", image(t, 1000), "v1", "v1.1", "v1.1.0")
		ctx, cancel := context.WithTimeout(t.Context(), linesLimit)
		defer cancel()
		lines := strings.ReplaceAll(blocks[i][1], "https://registry.example.org", s.URL)
		cmd := exec.CommandContext(ctx, "bash", "-eux", "-o", "pipefail", "-c", lines)
		cmd.Dir = s.Command(ctx, t).Dir
		cmd.Env = append(s.Command(ctx, t).Env, "DIGEST="+digest, "KEY="+key, "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, text := range want {
			if !strings.Contains(string(out), text) {
				t.Errorf("got %s\nwant %s in it", out, text)
			}
		}
	}
}
