// Command vulns runs govulncheck over the product. It is run in the integration directory:
//
//	go run ./vulns
//
// It fails if the product uses something that is known to be vulnerable, and if govulncheck
// cannot find that out. It only prints that the database of vulnerabilities cannot be reached,
// because `make check` also works without a network.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

const (
	// database is govulncheck's own default.
	database = "https://vuln.go.dev"
	// lookLimit bounds the request that finds out whether there is a network.
	lookLimit = 5 * time.Second
	// installLimit bounds the build of govulncheck, which is done once for each version.
	installLimit = 5 * time.Minute
	// runLimit bounds govulncheck, which loads and type-checks the whole product.
	runLimit = 5 * time.Minute
	// statusFound is govulncheck's exit status when it has found something.
	statusFound = 3
)

var (
	// errFound is that the product uses something vulnerable.
	errFound = errors.New("known vulnerabilities; update the affected modules")
	// errOutOfReach reports that the database cannot be reached.
	errOutOfReach = errors.New("its database cannot be reached")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run{database, "..", runLimit, install}.checked(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulns:", err)
		os.Exit(1)
	}
}

// run is one run of govulncheck over a module.
type run struct {
	database string // its URL
	dir      string // of the module
	limit    time.Duration
	// program returns the path of govulncheck, which it may install first.
	program func(context.Context) (string, error)
}

// checked runs govulncheck, and prints that it did not run if there is no database. Errors:
// errFound, and those of a failed run.
func (r run) checked(ctx context.Context, out io.Writer) error {
	err := r.check(ctx, out)
	if errors.Is(err, errOutOfReach) {
		fmt.Fprintln(out, "govulncheck DID NOT RUN:", err)
		return nil
	}
	return err
}

func (r run) check(ctx context.Context, out io.Writer) error {
	if err := look(ctx, r.database); err != nil {
		return fmt.Errorf("%w: %w", errOutOfReach, err)
	}
	path, err := r.program(ctx)
	if err != nil {
		return fmt.Errorf("install govulncheck: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-db", r.database, "./...")
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, out, out
	cmd.WaitDelay = time.Second // its own go command may hold the output open
	err = cmd.Run()
	exited, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("govulncheck did not finish within %s", r.limit)
	case exited != nil && exited.ExitCode() == statusFound:
		return errFound
	case err != nil:
		return fmt.Errorf("govulncheck: %w", err)
	}
	return nil
}

// look gets the time of the database's last change.
func look(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, database+"/index/db.json", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	return nil
}

// install builds the version in the list of tools, unless it is already installed.
func install(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./tools", "-only", "govulncheck")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", err
	}
	return filepath.Abs("../bin/tools/govulncheck")
}
