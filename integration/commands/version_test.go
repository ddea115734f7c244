package commands

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// The version is this project's, with the commit if git knew it at the build, and Caddy's.
func TestVersion(t *testing.T) {
	want := regexp.MustCompile(`^caddy-registry v\S+ ` +
		`\(commit (unknown|[0-9a-f]{12}(\+modified)?)\), Caddy v2\.\S+ h1:\S+\n$`)
	for _, argument := range []string{"version", "--version"} {
		out, err := exec.CommandContext(t.Context(), server.Binary(t), argument).CombinedOutput()
		if err != nil || !want.Match(out) {
			t.Errorf("%s: got %q, %v; want it to match %s", argument, out, err, want)
		}
	}
}

// Neither the output of `go version -m` nor the rest of the binary names a directory of the machine
// that built it.
func TestNoPathOfTheCheckoutIsInTheBinary(t *testing.T) {
	info, err := buildinfo.ReadFile(server.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	replaced := false
	for _, module := range info.Deps {
		if module.Replace != nil {
			replaced = true
			if filepath.IsAbs(module.Replace.Path) {
				t.Errorf("%s => %s", module.Path, module.Replace.Path)
			}
		}
	}
	binary, err := os.ReadFile(server.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if !replaced {
		t.Error("no module is replaced: this test looks at the wrong binary")
	}
	if root := server.Root(t); bytes.Contains(binary, []byte(root)) {
		t.Errorf("the path %s is in the binary", root)
	}
}
