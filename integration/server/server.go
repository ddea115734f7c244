// Package server runs the built binary, bin/caddy-registry, for a test: on a free port of
// loopback, with its own storage directory, with the repository's Caddyfile unless the test has
// another. It waits for answers and never for time, and it ends only processes that it started,
// by their id.
//
//	s := server.Start(t, server.Options{})
//	http.Get(s.URL + "/v2/")
//	s.Kill() // or Stop, for a clean stop
//
// The server's log is shown when the test fails.
package server

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/caddytest"
)

const (
	// startLimit bounds the wait for the first answer; a start takes well under a
	// second, but the tests of other packages may hold both cores.
	startLimit = 60 * time.Second
	// pollEvery is how often a condition is looked at.
	pollEvery = 10 * time.Millisecond
	// logTail is how much of the log a failed test shows, in bytes.
	logTail = 4 << 10
)

// Options configure how a server is started. The zero value is the repository's
// Caddyfile over an empty storage.
type Options struct {
	// Data is the storage directory (default: a temporary one).
	Data string
	// Caddyfile is the text of the configuration (default: the repository's).
	// REGISTRY_DATA and REGISTRY_PORT are in the environment in either case.
	Caddyfile string
	// Port to listen on (default: a free one).
	Port int
	// AdminOff leaves the server without an admin endpoint: Reload cannot reach it.
	AdminOff bool
	// Scheme that the configuration serves, for URL (default: http).
	Scheme string
}

// Server is one process. Its methods are for one goroutine at a time.
type Server struct {
	// URL is the root, without a final slash; Host is its host and port.
	URL, Host string
	Data      string
	Port      int

	dir     string
	admin   string // the address of the admin endpoint
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{}
	failure error
}

// Start runs a server and returns when it answers GET /v2/. The test fails if it does not. It
// is killed when the test ends.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	s := Launch(t, options)
	if err := s.ready(); err != nil {
		t.Fatalf("server did not start: %v\n%s", err, s.Log())
	}
	return s
}

// Launch runs a server and does not wait for it: for one that must be refused.
func Launch(t testing.TB, options Options) *Server {
	t.Helper()
	if options.Data == "" {
		options.Data = filepath.Join(t.TempDir(), "data")
	}
	if options.Port == 0 {
		options.Port = FreePort(t)
	}
	if options.Scheme == "" {
		options.Scheme = "http"
	}
	if options.Caddyfile == "" {
		options.Caddyfile = Open(t)
	}
	host := net.JoinHostPort("127.0.0.1", strconv.Itoa(options.Port))
	s := &Server{
		URL: options.Scheme + "://" + host, Host: host,
		Data: options.Data, Port: options.Port,
		dir: t.TempDir(), exited: make(chan struct{}),
	}
	s.admin = "unix/" + filepath.Join(s.dir, "admin.sock")
	if options.AdminOff {
		s.admin = "off"
	}
	s.logFile = filepath.Join(s.dir, "log")
	if err := s.Configure(options.Caddyfile); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = s.Command(context.Background(), t, "run", "--config", s.config(), "--adapter", "caddyfile")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.failure = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of the server on port %d:\n%s", s.Port, s.Log())
		}
	})
	return s
}

// Command is another run of the binary, with the environment that the server has:
// `registry gc`, `reload`, `validate`.
func (s *Server) Command(ctx context.Context, t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir,
		"REGISTRY_DATA="+s.Data, "REGISTRY_PORT="+strconv.Itoa(s.Port),
	)
	return cmd
}

// Key makes an API key of a service account by the command, as an administrator does,
// and returns its secret and its ID.
func (s *Server) Key(t testing.TB, user, group string) (secret, id string) {
	t.Helper()
	cmd := s.Command(t.Context(), t, "registry", "key", "create", "--storage", s.Data, "--user", user, "--group", group)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("key create: %v: %s", err, said.Bytes())
	}
	if _, err := fmt.Sscanf(said.String(), "key %s", &id); err != nil {
		t.Fatalf("key create printed no ID: %q", said.String())
	}
	return string(bytes.TrimSpace(out)), id
}

// Revoke revokes an API key by the command.
func (s *Server) Revoke(t testing.TB, id string) {
	t.Helper()
	out, err := s.Command(t.Context(), t, "registry", "key", "revoke", "--storage", s.Data, id).CombinedOutput()
	if err != nil {
		t.Fatalf("key revoke: %v: %s", err, out)
	}
}

// Configure writes the Caddyfile that the next start or reload reads. The admin
// endpoint is moved to a socket of this server's own, because its default port is
// one for the whole machine.
func (s *Server) Configure(caddyfile string) error {
	text, err := withAdmin(caddyfile, s.admin)
	if err != nil {
		return err
	}
	return os.WriteFile(s.config(), []byte(text), 0o600)
}

// Reload loads the configuration that Configure wrote, and waits until only that answers: Caddy
// closes the socket of the previous one after the reload, and the kernel then resets the
// connections that wait on it.
func (s *Server) Reload(ctx context.Context, t testing.TB) error {
	out, err := s.Command(ctx, t, "reload", "--force", "--config", s.config(), "--adapter", "caddyfile").CombinedOutput()
	if err != nil {
		return fmt.Errorf("reload: %w: %s", err, out)
	}
	return Eventually(startLimit, func() (bool, error) {
		twice, err := caddytest.ListenedTwice(s.Port)
		return !twice, err
	})
}

// Authority is the file of the root certificate that signs for `tls internal`.
func (s *Server) Authority() string {
	return filepath.Join(s.dir, "caddy", "pki", "authorities", "local", "root.crt")
}

func (s *Server) config() string { return filepath.Join(s.dir, "Caddyfile") }

// PID is the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the process as kill -9 does, and waits for it to be gone.
func (s *Server) Kill() {
	s.cmd.Process.Kill() // an error means that it is gone already
	<-s.exited
}

// Stop ends the process with SIGTERM. Errors: of its exit status, and when it is
// still there after limit (it is killed then).
func (s *Server) Stop(limit time.Duration) error {
	if err := s.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.Wait(limit)
}

// Signal sends sig to the process.
func (s *Server) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// Wait waits until the process has ended, and returns its exit status. Errors: as Stop.
func (s *Server) Wait(limit time.Duration) error {
	select {
	case <-s.exited:
		return s.failure
	case <-time.After(limit):
		s.Kill()
		return fmt.Errorf("process %d was still there after %s", s.PID(), limit)
	}
}

// Log returns the end of the server's output.
func (s *Server) Log() string {
	data, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	if len(data) > logTail {
		_, data, _ = bytes.Cut(data[len(data)-logTail:], []byte("\n"))
	}
	return string(data)
}

// ready waits until the server answers below /v2/.
func (s *Server) ready() error {
	client := Client(5 * time.Second)
	defer client.CloseIdleConnections()
	return Eventually(startLimit, func() (bool, error) {
		select {
		case <-s.exited:
			return false, fmt.Errorf("process ended: %v", s.failure)
		default:
		}
		response, err := client.Get(s.URL + "/v2/_catalog?n=1")
		if err != nil {
			return false, nil
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
}
