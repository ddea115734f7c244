// Command stages runs a list of checks one after the other, prints how long each
// took, and fails if any failed. `make test` and `make test-all` call it in the integration
// directory:
//
//	go run ./stages test | test-all | check
//
// A failed stage does not stop the others: one run reports all failures. What the tests said of them is
// repeated at the end.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// stage is one line of the summary. The commands run until the first that fails.
type stage struct {
	name     string
	commands []command
}

// command is a process to run: in dir (relative to integration), with env added.
type command struct {
	dir  string
	env  []string
	args []string
	// silent means that output is itself a failure (gofmt -l).
	silent bool
}

func main() {
	if len(os.Args) != 2 || lists[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: stages test | test-all | check")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed := run(ctx, lists[os.Args[1]]())
	stop()
	if failed {
		os.Exit(1)
	}
}

// run runs the stages and prints the summary. It reports whether any failed.
func run(ctx context.Context, stages []stage) (failed bool) {
	var summary strings.Builder
	said := &failures{to: os.Stdout}
	begin := time.Now()
	for _, s := range stages {
		fmt.Printf("\n=== %s\n", s.name)
		started := time.Now()
		verdict := "ok"
		for _, c := range s.commands {
			if err := c.run(ctx, said); err != nil {
				fmt.Printf("%s: %v\n", s.name, err)
				verdict, failed = "FAILED", true
				break
			}
		}
		took := time.Since(started).Round(time.Second)
		fmt.Printf("=== %s: %s in %s\n", s.name, verdict, took)
		fmt.Fprintf(&summary, "%-28s %-7s %8s\n", s.name, verdict, took)
	}
	if len(said.kept) > 0 {
		fmt.Printf("\n=== what failed\n%s\n", strings.Join(said.kept, "\n"))
	}
	fmt.Printf("\n%s%-28s %-7s %8s\n", summary.String(), "in all", "", time.Since(begin).Round(time.Second))
	return failed
}

// run runs the command; out gets what it prints.
func (c command) run(ctx context.Context, out io.Writer) error {
	fmt.Println("$", strings.Join(slices.Concat(c.env, c.args), " "))
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 10 * time.Second // for what a process left behind that still could write
	if !c.silent {
		cmd.Stdout = out
		return cmd.Run()
	}
	named, err := cmd.Output()
	if err != nil {
		return err
	}
	if len(named) > 0 {
		return fmt.Errorf("%s named:\n%s", strings.Join(c.args, " "), named)
	}
	return nil
}
