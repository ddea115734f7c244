package live

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

// exitLimit bounds an exit whose grace period is one second, or the default of ten. The rest
// allows for a busy machine.
const exitLimit = time.Minute

// exiting is a registry with a grace period, or none.
func exiting(grace, storage, site string) string {
	return fmt.Sprintf(`{
	%s
	skip_install_trust
	oci {
		storage file %s
		policy {
			allow anonymous *
		}
	}
}
%s
	bind 127.0.0.1
	oci_registry
}
`, grace, storage, site)
}

const (
	plain     = "http://:{$REGISTRY_PORT} {"
	encrypted = "https://127.0.0.1:{$REGISTRY_PORT} {\n\ttls internal"
)

func TestExitEndsTransfersAndClosesTheStorage(t *testing.T) {
	const second = "grace_period 1s"
	signal := func(sig os.Signal) func(*testing.T, *server.Server) error {
		return func(_ *testing.T, s *server.Server) error { return s.Signal(sig) }
	}
	for _, row := range []struct {
		name, grace string
		// least is how long the transfers may at least run on.
		least time.Duration
		stop  func(*testing.T, *server.Server) error
		// before is done while the transfers are under way.
		before func(*testing.T, *server.Server) error
		tls    bool
	}{
		{name: "SIGTERM", grace: second, least: time.Second, stop: signal(syscall.SIGTERM)},
		{name: "SIGINT", grace: second, least: time.Second, stop: signal(syscall.SIGINT)},
		{name: "the admin endpoint", grace: second, least: time.Second, stop: func(t *testing.T, s *server.Server) error { return s.StopByAdmin(t.Context(), t) }},
		{name: "TLS and HTTP/2", grace: second, least: time.Second, stop: signal(syscall.SIGTERM), tls: true},
		{name: "no grace period", least: 10 * time.Second, stop: signal(syscall.SIGTERM)},
		// The transfers began before the reload, from which their grace period counts. In the
		// second row no configuration names their storage any more.
		{name: "after a reload", grace: second, stop: signal(syscall.SIGTERM),
			before: func(t *testing.T, s *server.Server) error { return s.Reload(t.Context(), t) }},
		{name: "after a reload with another storage", grace: second, stop: signal(syscall.SIGTERM),
			before: func(t *testing.T, s *server.Server) error {
				if err := s.Configure(exiting(second, t.TempDir(), plain)); err != nil {
					return err
				}
				return s.Reload(t.Context(), t)
			}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // each waits for its grace period
			options := server.Options{Caddyfile: exiting(row.grace, "{$REGISTRY_DATA}", plain)}
			if row.tls {
				options = server.Options{Caddyfile: exiting(row.grace, "{$REGISTRY_DATA}", encrypted), Scheme: "https"}
			}
			s := server.Start(t, options)
			x := begin(t, s)
			if row.tls {
				beginHTTP2(t, s, x.pull.Header.Get("Docker-Content-Digest"))
			}
			if row.before != nil {
				if err := row.before(t, s); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			if err := row.stop(t, s); err != nil {
				t.Fatal(err)
			}
			if err := s.Wait(exitLimit); err != nil {
				t.Fatalf("exit: %v", err)
			}
			took := time.Since(began)
			t.Logf("exited after %s", took.Round(time.Millisecond))
			if took < row.least {
				t.Errorf("exited after %s, before the grace period of %s was over", took, row.least)
			}
			if err := x.finishPull(); err == nil {
				t.Error("the pull was complete; it was to be ended")
			}
			closedCleanly(t, s)

			again := server.Start(t, server.Options{Data: s.Data, Port: s.Port})
			for _, trouble := range []string{"not closed cleanly", "index rebuilt"} {
				if n, err := again.Said(trouble); n > 0 || err != nil {
					t.Errorf("the next start logs %q (%v):\n%s", trouble, err, again.Log())
				}
			}
			c := client.New(again.URL)
			defer c.Close()
			if _, err := c.Blob(t.Context(), repo, digest.Digest(x.pull.Header.Get("Docker-Content-Digest"))); err != nil {
				t.Errorf("a blob that was acknowledged before the exit: %v", err)
			}
			x.client = c
			x.location = strings.Replace(x.location, s.URL, again.URL, 1)
			if err := x.resume(t.Context()); err != nil {
				t.Errorf("resume after the exit: %v\n%s", err, again.Log())
			}
		})
	}
}

// beginHTTP2 starts one more pull, by HTTP/2.
func beginHTTP2(t *testing.T, s *server.Server, d string) {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/"+repo+"/blobs/"+d, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil || response.ProtoMajor != 2 {
		t.Fatalf("pull by %s: %v", response.Proto, err)
	}
}

// closedCleanly fails the test unless both storages of an ended process have their mark.
func closedCleanly(t *testing.T, s *server.Server) {
	t.Helper()
	for _, tree := range []string{".", "mirrors"} {
		if _, err := os.Stat(filepath.Join(s.Data, tree, "clean")); err != nil {
			t.Errorf("storage was not closed cleanly: %v\n%s", err, s.Log())
		}
	}
}

// A download outlives its readers, and its upstream may send nothing.
func TestExitEndsAColdPullWhoseUpstreamStalls(t *testing.T) {
	t.Parallel()
	const held = 64 << 10
	up := upstreamtest.New(t, upstreamtest.Config{})
	d := up.Blob("team/app", client.NewImage(7, 1, 4<<20).Blobs[1])
	defer up.Fault(upstreamtest.Fault{Path: d.Encoded(), Method: http.MethodGet, Stall: true, After: held}).Lift()
	s := server.Start(t, server.Options{Caddyfile: exiting("grace_period 1s", "{$REGISTRY_DATA}\nmirror mirrored.test {\nupstream "+up.URL+"\nstall_timeout 1h\n}", plain)})
	c := client.New(s.URL)
	defer c.Close()
	response, err := c.Request(t.Context(), http.MethodGet, "/v2/mirrored.test/team/app/blobs/"+d.String(), nil, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.CopyN(io.Discard, response.Body, held/2); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(exitLimit); err != nil {
		t.Errorf("exit: %v", err)
	}
	closedCleanly(t, s)
}

// The grace period of a configuration that a reload replaced ends no request, either.
func TestReloadEndsNoTransferAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	s := server.Start(t, server.Options{Caddyfile: exiting("grace_period 1ms", "{$REGISTRY_DATA}", plain)})
	x := begin(t, s)
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	err := server.Eventually(exitLimit, func() (bool, error) {
		n, err := s.Said("server graceful shutdown")
		return n > 0, err
	})
	if err != nil {
		t.Fatalf("the grace period does not end: %v", err)
	}
	if err := x.finishPull(); err != nil {
		t.Error(err)
	}
	if err := x.finishPush(t.Context()); err != nil {
		t.Error(err)
	}
}
