package main

import (
	"bytes"
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
			builder, err := load(root)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(builder.Replacements[0].New); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestLoadReadsTheProductsDocument(t *testing.T) {
	builder, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(builder.Plugins) == 0 || builder.CaddyVersion == "" {
		t.Errorf("got %+v, want a plugin and a Caddy version", builder)
	}
}

func TestCommitIsThatOfTheCheckout(t *testing.T) {
	root := t.TempDir()
	if got := flagsFor(commit(t.Context(), root)); got != "" {
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
	if got := commit(t.Context(), root); got != hash {
		t.Errorf("got %q, want %q", got, hash)
	}
	write("file", "two")
	if got := commit(t.Context(), root); got != hash+"+modified" {
		t.Errorf("with changes: got %q, want %q", got, hash+"+modified")
	}
	if got := flagsFor(hash); !strings.Contains(got, "-trimpath") || !strings.Contains(got, "built.commit="+hash+"'") {
		t.Errorf("flags: got %q", got)
	}
}

// The same commit gives the same bytes, wherever it was checked out.
func TestBuildsAreTheSameEverywhere(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("builds the binary twice: make test-all")
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var built [][]byte
	for _, name := range []string{"one", "another-with-a-longer-name"} {
		t.Setenv("TMPDIR", t.TempDir()) // build leaves another one
		root := filepath.Join(t.TempDir(), name)
		clone := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "clone", "-q", checkout, root)
		if out, err := clone.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", clone, err, out)
		}
		output := filepath.Join(root, "binary")
		if err := build(t.Context(), root, output, "", ""); err != nil {
			t.Fatal(err)
		}
		binary, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(binary, []byte(root)) {
			t.Errorf("the binary has the path %s in it", root)
		}
		built = append(built, binary)
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("two builds of one commit differ: %d and %d bytes", len(built[0]), len(built[1]))
	}
}
