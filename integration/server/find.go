package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Root is the checkout: the first directory above the test's own with xcaddy.json.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "xcaddy.json")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no xcaddy.json above the working directory")
		}
		dir = parent
	}
}

// Binary is the path of the built server. A missing one fails the test: there is
// nothing to test without it.
func Binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Root(t), "bin", "caddy-registry")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build`", err)
	}
	return path
}

// Tool is the path of a program that the test drives, from bin/tools or the PATH.
// One that is not there fails the test with CI=true and skips it otherwise.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Root(t), "bin", "tools", name)
	if _, err := os.Stat(path); err == nil {
		return path
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%v: run `go run ./tools` in integration", err)
	}
	t.Skipf("%v: run `go run ./tools` in integration", err)
	return ""
}

// Caddyfile is the text of the repository's own.
func Caddyfile(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tiers is the policy of the repository's Caddyfile.
const tiers = `			allow anonymous read fetch
			allow group artifact-workloads read fetch create
			allow group admins *
`

// Open is the repository's Caddyfile with a policy that allows everything, for tests that are
// not about rights.
func Open(t testing.TB) string {
	t.Helper()
	text := strings.Replace(Caddyfile(t), tiers, "\t\t\tallow anonymous *\n", 1)
	if !strings.Contains(text, "allow anonymous *\n") {
		t.Fatal("the repository's Caddyfile has another policy than is replaced here")
	}
	return text
}

// withAdmin puts the admin endpoint of a Caddyfile at address. The text must open its global
// options with a brace on a separate line.
func withAdmin(caddyfile, address string) (string, error) {
	var out strings.Builder
	done := false
	for line := range strings.Lines(caddyfile) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "admin" {
			continue
		}
		out.WriteString(line)
		if !done && strings.TrimSpace(line) == "{" {
			fmt.Fprintf(&out, "\tadmin %s\n", address)
			done = true
		}
	}
	if !done {
		return "", errors.New("Caddyfile has no global options to put the admin endpoint into")
	}
	return out.String(), nil
}

// FreePort returns an unused port of loopback, a different one for every call in this process:
// the kernel may offer one again before it is used.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		port := listener.Addr().(*net.TCPAddr).Port
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
	t.Fatal("the kernel offers only ports that were given already")
	return 0
}

// givenPorts are the ports that FreePort has returned.
var givenPorts sync.Map

// Client is an HTTP client for a server under test. It trusts any certificate,
// because Caddy's local authority is made anew for each server, and limits each
// request to limit (0: no limit).
func Client(limit time.Duration) *http.Client {
	return &http.Client{
		Timeout:   limit,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 64},
	}
}

// Eventually looks at a condition until it holds, errs, or limit has passed.
func Eventually(limit time.Duration, condition func() (bool, error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		done, err := condition()
		if done || err != nil {
			return err
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			return fmt.Errorf("condition did not hold within %s", limit)
		}
	}
}
