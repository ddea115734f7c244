package commands

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// The version is this project's, with the commit if git knew it at the build, and Caddy's.
func TestVersion(t *testing.T) {
	want := regexp.MustCompile(`^caddy-registry v\S+ \(commit (unknown|[0-9a-f]{12}(\+modified)?)\), Caddy v2\.\S+ h1:\S+\n$`)
	for _, argument := range []string{"version", "--version"} {
		out, err := exec.CommandContext(t.Context(), server.Binary(t), argument).CombinedOutput()
		if err != nil || !want.Match(out) {
			t.Errorf("%s: got %q, %v; want it to match %s", argument, out, err, want)
		}
	}
}
