package registrytest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// asCommand is the environment variable with which the test binary behaves as the product's.
// Signals and exit codes need a process of their own.
const asCommand = "CADDYMODULE_TEST_AS_COMMAND"

// The exit statuses of commands.
const (
	Done   = 0
	Failed = 1
	Misuse = 2
)

// Main runs the tests of a package, or the product's command line where Command wants it. The
// TestMain of a package that uses Command or Start calls it.
func Main(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// Command returns the product's command line with arguments, for a process of its own.
func Command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), asCommand+"=1",
		"HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir)
	return cmd
}

// Execute runs `registry` with arguments as Caddy's main function does, but in this
// process, and returns the exit status.
func Execute(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (status int) {
	registry := &cobra.Command{Use: "registry"}
	caddycmd.Commands()["registry"].CobraFunc(registry)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(registry)
	root.SetArgs(append([]string{"registry"}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		status = Failed
		fmt.Sscanf(err.Error(), "exiting with status %d", &status) // Caddy's error of any other status
	}
	return status
}

// Run runs `registry` with arguments in this process, and returns what it printed
// on its standard output and standard error, and the exit status.
func Run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, told strings.Builder
	status = Execute(t.Context(), strings.NewReader(""), &out, &told, args...)
	return out.String(), told.String(), status
}

// Start starts a server process with a Caddyfile, and returns when it serves.
func Start(t *testing.T, caddyfile string) *exec.Cmd {
	t.Helper()
	cmd := Command(t.Context(), t, "run", "--adapter", "caddyfile", "--config", "-")
	cmd.Stdin = strings.NewReader(caddyfile)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		log.Write(append(lines.Bytes(), '\n'))
		if strings.Contains(lines.Text(), "serving initial configuration") {
			go io.Copy(io.Discard, stderr) // or the process would block on its log
			return cmd
		}
	}
	t.Fatalf("the server did not start: %v\n%s", cmd.Wait(), log.Bytes())
	return nil
}
