// Package distribution runs the CNCF's registry as the upstream of a mirror: a common upstream
// that is not part of this project. It authenticates by a password file, or by tokens that a
// small server beside it signs.
//
//	up := distribution.Start(t, distribution.Tokens)
//	// push to up.Host as distribution.User with distribution.Secret
//	fmt.Sprintf("mirror quay.io {\nupstream %s\nallow_private %s\n}", up.URL, up.TokenHost)
//	up.Stop()
package distribution

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// The one account, who may do everything.
const User, Secret = "user", "secret"

// passwords is Secret in bcrypt, at its lowest cost.
const passwords = User + ":$2a$04$zU22yPpZSxQCGWSLDZIJfOGVs.S6ZoRh5/AUoyEf5hdoJvnqtbDga\n"

const (
	startLimit = 60 * time.Second
	// logTail is how much of the log a failed test shows, in bytes.
	logTail = 4 << 10
)

// Auth is how a registry knows its callers.
type Auth int

const (
	// Passwords: every request needs the account's password.
	Passwords Auth = iota
	// Tokens: every caller gets tokens; without the account they allow only reading in public/.
	Tokens
)

// Registry is a registry that runs until the test ends.
type Registry struct {
	// URL and Host are where it is, TokenHost where its tokens are, or empty.
	URL, Host, TokenHost string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs a registry over an empty storage.
func Start(t testing.TB, auth Auth) *Registry {
	t.Helper()
	dir := t.TempDir()
	r := &Registry{
		Host:   net.JoinHostPort("127.0.0.1", strconv.Itoa(server.FreePort(t))),
		exited: make(chan struct{}),
	}
	r.URL = "http://" + r.Host
	options := ""
	switch auth {
	case Passwords:
		options = fmt.Sprintf("  htpasswd:\n    realm: upstream\n    path: %s\n", write(t, dir, "htpasswd", []byte(passwords)))
	case Tokens:
		issuer := newIssuer(t)
		r.TokenHost = issuer.host
		options = fmt.Sprintf("  token:\n    realm: http://%s/token\n    service: %s\n    issuer: %s\n    jwks: %s\n",
			issuer.host, service, issuerName, write(t, dir, "jwks.json", issuer.jwks()))
	}
	config := write(t, dir, "config.yml", fmt.Appendf(nil, `version: 0.1
log:
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %s
http:
  addr: %s
auth:
%s`, filepath.Join(dir, "data"), r.Host, options))
	r.run(t, dir, config)
	return r
}

func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *Registry) run(t testing.TB, dir, config string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.CommandContext(context.Background(), server.Tool(t, "registry"), "serve", config)
	r.cmd.Dir = dir
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // it is killed
		close(r.exited)
	}()
	t.Cleanup(func() {
		r.Stop()
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("log of the upstream %s:\n%s", r.Host, said[max(0, len(said)-logTail):])
		}
	})
	client := server.Client(5 * time.Second)
	defer client.CloseIdleConnections()
	err = server.Eventually(startLimit, func() (bool, error) {
		select {
		case <-r.exited:
			return false, fmt.Errorf("it ended: %v", r.cmd.ProcessState)
		default:
		}
		response, err := client.Get(r.URL + "/v2/")
		if err != nil {
			return false, nil
		}
		response.Body.Close()
		return response.StatusCode == http.StatusUnauthorized, nil
	})
	if err != nil {
		t.Fatalf("the upstream did not start: %v", err)
	}
}

// Stop ends the registry, and its clients' connections with it.
func (r *Registry) Stop() {
	_ = r.cmd.Process.Kill() // an error means that it is gone
	<-r.exited
}
