package builder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadMakesDirectoriesAbsolute(t *testing.T) {
	root := t.TempDir()
	for _, row := range []struct {
		name, replacement, want string
	}{
		{"the checkout itself", ".", root},
		{"a directory beside it", "../other", filepath.Join(filepath.Dir(root), "other")},
		{"a directory within", "./within", filepath.Join(root, "within")},
		{"an absolute directory", "/src/plugin", "/src/plugin"},
		{"another module", "example.com/fork@v1.0.0", "example.com/fork@v1.0.0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			document := `{"replacements": [{"old": "example.com/plugin", "new": "` + row.replacement + `"}]}`
			if err := os.WriteFile(filepath.Join(root, "xcaddy.json"), []byte(document), 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := Load(root)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b.Replacements[0].New); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestLoadReadsTheProductsDocument(t *testing.T) {
	b, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Plugins) == 0 || b.CaddyVersion == "" {
		t.Errorf("got %+v, want a plugin and a Caddy version", b)
	}
}

func TestCommitIsThatOfTheCheckout(t *testing.T) {
	root := t.TempDir()
	if got := Flags(Commit(t.Context(), root)); got != "" {
		t.Errorf("no checkout: got flags %q, want those of xcaddy", got)
	}
	git := func(args ...string) string {
		t.Helper()
		as := []string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}
		cmd := exec.CommandContext(t.Context(), "git", append(as, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("file", "one")
	git("add", "file")
	git("commit", "-q", "-m", "one")
	hash := git("rev-parse", "HEAD")
	write("untracked", "")
	if got := Commit(t.Context(), root); got != hash {
		t.Errorf("got %q, want %q", got, hash)
	}
	write("file", "two")
	if got := Commit(t.Context(), root); got != hash+"+modified" {
		t.Errorf("with changes: got %q, want %q", got, hash+"+modified")
	}
	if got := Flags(hash); !strings.Contains(got, "-trimpath") || !strings.Contains(got, "built.commit="+hash+"'") {
		t.Errorf("flags: got %q", got)
	}
}
