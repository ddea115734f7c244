package commands

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// shellOf returns the blocks for a shell of docs/do/back-up.md, in which each key of replace,
// which must be there, has been replaced.
func shellOf(t *testing.T, replace map[string]string) (blocks []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "back-up.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for from, to := range replace {
		if !strings.Contains(text, from) {
			t.Fatalf("the page lacks %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// While pushes, deletions and the collector run, the directory is backed up with borg as the
// page says. Each tag of the restored copy is whole, the images from before the backup are there,
// and keys are valid.
func TestBackUpWithBorg(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("set REGISTRY_SLOW, as make test-all does")
	}
	server.Tool(t, "borg")
	s := server.Start(t, server.Options{})
	key, _ := s.Key(t, "me", "admins")
	c := client.New(s.URL).Login("me", key)
	defer c.Close()
	const before = 50
	held := map[string]digest.Digest{}
	push := func(tag string, seed int) {
		t.Helper()
		image := client.NewImage(uint64(seed), 3, 20_000)
		if err := c.PushImage(t.Context(), "team/app", tag, image); err != nil {
			t.Fatal(err)
		}
		if seed < before {
			held[tag] = image.Digest()
		}
	}
	for i := range before {
		push(fmt.Sprintf("before-%d", i), i)
	}

	scratch := t.TempDir()
	restored := filepath.Join(scratch, "restored")
	blocks := shellOf(t, map[string]string{
		"/srv/backup/registry": filepath.Join(scratch, "borg"), "/var/lib/registry": s.Data, "/var/lib/restored": restored,
		"caddy-registry registry": server.Binary(t) + " registry",
	})
	if len(blocks) != 2 {
		t.Fatalf("the page has %d blocks for a shell, want 2", len(blocks))
	}
	shell := func(text string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
		cmd.Env = append(os.Environ(), "BORG_PASSPHRASE=secret", "BORG_BASE_DIR="+filepath.Join(scratch, "base"),
			"BORG_REPO="+filepath.Join(scratch, "borg"))
		return cmd
	}
	var out []byte
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, failed = shell(blocks[0]).CombinedOutput()
	}()
	during := 0
	for running := true; running; during++ {
		tag := fmt.Sprintf("during-%d", during)
		push(tag, before+2*during)
		push("moving", before+2*during+1)
		if during%3 == 0 {
			if _, err := c.Request(t.Context(), "DELETE", "/v2/team/app/manifests/"+tag, nil, nil, 202); err != nil {
				t.Fatal(err)
			}
		}
		if during%10 == 0 {
			if told, err := s.Command(t.Context(), t, "registry", "gc", "--storage", s.Data).CombinedOutput(); err != nil {
				t.Fatalf("gc: %v: %s", err, told)
			}
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	// Status 1 is a warning: a tag was moved or deleted before borg had read it.
	if warned := new(exec.ExitError); failed != nil && (!errors.As(failed, &warned) || warned.ExitCode() != 1) {
		t.Fatalf("backup: %v: %s", failed, out)
	}
	t.Logf("%d rounds of pushes during the backup", during)

	if out, err := shell(blocks[1]).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v: %s", err, out)
	}
	list, err := shell(`borg list --format '{path}{NL}' "::$(borg list --short --last 1)"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(list)) {
		for _, cache := range []string{"mirrors", "index", "private/uploads", "private/tmp", "private/pending"} {
			if strings.HasPrefix(path, cache) {
				t.Errorf("%s is in the backup", path)
			}
		}
	}
	again := server.Start(t, server.Options{Data: restored})
	r := client.New(again.URL).Login("me", key)
	defer r.Close()
	for tag, want := range held {
		if got, err := r.PullImage(t.Context(), "team/app", tag); err != nil || got != want {
			t.Errorf("%s: got %s and %v, want %s", tag, got, err, want)
		}
	}
	status, body := request(t, again, "GET", "/v2/team/app/tags/list", "")
	for _, tag := range regexp.MustCompile(`"((?:during|moving)[^"]*)"`).FindAllStringSubmatch(body, -1) {
		if _, err := r.PullImage(t.Context(), "team/app", tag[1]); err != nil {
			t.Errorf("%s, which was pushed during the backup: %v", tag[1], err)
		}
	}
	if status != 200 || !strings.Contains(body, "before-0") {
		t.Errorf("tags: %d %s", status, body)
	}
	if err := r.PushImage(t.Context(), "team/app", "after", client.NewImage(1_000_000, 1, 100)); err != nil {
		t.Errorf("a push with the key of the backup: %v", err)
	}
}
