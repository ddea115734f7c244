package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandTree returns the command `registry` below a root, and every command below it. Each
// sets ran instead of doing its work, when its command line was accepted.
func commandTree() (root *cobra.Command, all []*cobra.Command, ran *string) {
	ran = new(string)
	registry := &cobra.Command{Use: "registry", Short: "short", Long: "long"} // as Caddy makes it
	registryCommand(registry)
	root = &cobra.Command{Use: "caddy-registry", SilenceUsage: true}
	root.AddCommand(registry)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		all = append(all, cmd)
		if !cmd.HasSubCommands() {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { *ran = cmd.CommandPath(); return nil }
		}
		for _, below := range cmd.Commands() {
			walk(below)
		}
	}
	walk(registry)
	return root, all, ran
}

// words splits a command line as a shell does that meets only single quotes around words.
func words(line string) []string { return strings.Fields(strings.ReplaceAll(line, "'", "")) }

// The help of every command says what the command does and shows command lines, which the
// command accepts.
func TestTheHelpOfEveryCommandIsComplete(t *testing.T) {
	_, all, _ := commandTree()
	if len(all) < 15 {
		t.Fatalf("found only %d commands", len(all))
	}
	for _, cmd := range all {
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: short help %q, long help %q, example %q; want all of them", path, cmd.Short, cmd.Long, cmd.Example)
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if flag.Usage == "" {
				t.Errorf("%s: the flag --%s has no help", path, flag.Name)
			}
		})
		if help := helpOf(t, words(path)[1:]); strings.Contains(help, "caddyserver.com") || !strings.Contains(help, cmd.Example) {
			t.Errorf("%s: the help lacks the example, or names Caddy's manual: %s", path, help)
		}
		for line := range strings.Lines(cmd.Example) {
			root, _, ran := commandTree()
			args := words(line)
			if args[0] != root.Name() {
				t.Errorf("%s: the example %q is of another program", path, line)
				continue
			}
			var said bytes.Buffer
			root.SetErr(&said)
			root.SetArgs(args[1:])
			if err := root.Execute(); err != nil || !strings.HasPrefix(*ran, path) {
				t.Errorf("%s: the example %q ran %q: %v %s", path, line, *ran, err, &said)
			}
		}
	}
}

// helpOf returns what --help of a command prints.
func helpOf(t *testing.T, args []string) string {
	t.Helper()
	root, _, _ := commandTree()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append(args, "--help"))
	if err := root.Execute(); err != nil {
		t.Error(err)
	}
	return out.String()
}

// A command line that is wrong runs nothing, whatever is wrong with it.
func TestWrongCommandLinesRunNothing(t *testing.T) {
	for _, line := range []string{
		"", "sweep", "key", "policy", "policy sweep",
		"gc now", "gc --storage a --config b",
		"purge", "purge a b", "purge UPPER",
		"verify a b", "verify team/app:v1",
		"doctor containerd", "doctor --clients --storage a",
		"demo now", "demo --storage a",
		"health a b", "health /readyz", "health ftp://127.0.0.1/readyz", "health http://127.0.0.1:5050/v2/",
		"import", "import zot", "import zot a b", "import zot a --storage b", "import zot a --user me",
		"key create", "key create me --user me", "key create --user me --expires never",
		"key list me", "key revoke", "key revoke a b", "user list me", "user disable", "user enable a b",
		"ls a b", "ls --server a --storage b", "tags", "tags team/app:v1", "tags UPPER", "show", "show a b", "show team/app:-",
		"rm", "rm team/app", "rm team/app@sha256:12", "rm a:v1 b:v1",
		"policy explain read", "policy explain sweep team/app", "policy explain read team/app:-",
	} {
		root, _, ran := commandTree()
		var said bytes.Buffer
		root.SetErr(&said)
		root.SetArgs(append([]string{"registry"}, strings.Fields(line)...))
		if err := root.Execute(); err == nil || *ran != "" || !strings.HasPrefix(said.String(), "error: ") {
			t.Errorf("%q: got %v, ran %q and printed %q; want an error", line, err, *ran, &said)
		}
	}
}

// Shells complete a command line by asking the program.
func TestCommandsComplete(t *testing.T) {
	const noFiles, directories = ":4", ":16"
	for _, row := range []struct {
		line []string // the last word is being typed
		want []string // among what is offered
		ends string   // what the shell is to do about files
	}{
		{[]string{""}, []string{"demo", "doctor", "gc", "key", "ls", "policy", "purge", "rm", "show", "tags", "user", "verify"}, noFiles},
		{[]string{"key", ""}, []string{"create", "list", "revoke"}, noFiles},
		{[]string{"gc", "--"}, []string{"--dry-run", "--json", "--config", "--adapter", "--storage"}, noFiles},
		{[]string{"gc", ""}, nil, noFiles},
		{[]string{"gc", "--storage", ""}, nil, directories},
		{[]string{"import", "zot", ""}, nil, directories},
		{[]string{"gc", "--adapter", ""}, []string{"caddyfile"}, noFiles},
		{[]string{"key", "create", "--action", ""}, []string{"read", "create"}, noFiles},
		{[]string{"key", "create", "--user", ""}, nil, noFiles},
		{[]string{"key", "revoke", ""}, nil, noFiles},
		{[]string{"user", "disable", ""}, nil, noFiles},
		{[]string{"policy", "explain", ""}, []string{"read", "push"}, noFiles},
		{[]string{"policy", "explain", "read", ""}, nil, noFiles},
		{[]string{"tags", "--order", ""}, []string{"version", "push", "pull", "name"}, noFiles},
		{[]string{"ls", ""}, nil, noFiles},
		{[]string{"doctor", "--clients", ""}, []string{"containerd", "k3s"}, noFiles},
	} {
		root, _, _ := commandTree()
		var out, said bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&said)
		root.SetArgs(slices.Concat([]string{cobra.ShellCompRequestCmd, "registry"}, row.line))
		if err := root.Execute(); err != nil {
			t.Error(err)
		}
		var offered []string
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			offered = append(offered, word)
		}
		if len(offered) == 0 || offered[len(offered)-1] != row.ends || row.want == nil && len(offered) > 1 {
			t.Errorf("%q: got %q, want it to end with %s", row.line, offered, row.ends)
		}
		for _, want := range row.want {
			if !slices.Contains(offered, want) {
				t.Errorf("%q: got %q, which lacks %s", row.line, offered, want)
			}
		}
	}
}
