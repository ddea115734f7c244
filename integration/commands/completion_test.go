package commands

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// A bash that has read `caddy-registry completion bash` completes commands, flags and values.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err) // Debian cannot be without it
	}
	// The script does what bash does when Tab is pressed, with the binary first in PATH.
	// Without the package bash-completion it must define _get_comp_words_by_ref itself.
	const pressTab = `
set -u
PATH=${BINARY%/*}:$PATH
source <(caddy-registry completion bash)
complete -p caddy-registry >/dev/null || exit 1
COMP_WORDS=(caddy-registry "$@") COMP_CWORD=$# COMP_LINE="caddy-registry $*" COMP_POINT=${#COMP_LINE}
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
__start_caddy-registry
printf '%s\n' "${COMPREPLY[@]}"
`
	for _, row := range []struct{ line, want []string }{
		{[]string{"re"}, []string{"registry", "reload"}},
		{[]string{"registry", ""}, []string{"demo", "doctor", "gc", "key"}},
		{[]string{"registry", "key", "cr"}, []string{"create"}},
		{[]string{"registry", "gc", "--d"}, []string{"--dry-run"}},
		{[]string{"registry", "key", "create", "--action", ""}, []string{"read", "update"}},
		{[]string{"registry", "policy", "explain", "pu"}, []string{"push"}},
	} {
		cmd := exec.CommandContext(t.Context(), bash, append([]string{"--norc", "-c", pressTab, "bash"}, row.line...)...)
		cmd.Env = append(cmd.Environ(), "BINARY="+server.Binary(t))
		out, err := cmd.CombinedOutput()
		offered := strings.Fields(string(out))
		if err != nil || slices.ContainsFunc(row.want, func(word string) bool { return !slices.Contains(offered, word) }) {
			t.Errorf("%q: got %v and %q, want %q among it", row.line, err, out, row.want)
		}
	}
}
