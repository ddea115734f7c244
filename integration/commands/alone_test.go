package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// alone is a registry on one site.
func alone(scheme, site string) string {
	return fmt.Sprintf(`{
	skip_install_trust
	grace_period 1s
	oci {
		storage file {$REGISTRY_DATA}
		min_free 1
		policy {
			allow anonymous *
		}
	}
}
%s://127.0.0.1:{$REGISTRY_PORT} {
	bind 127.0.0.1
	%s
}
`, scheme, site)
}

// The kernel would give each connection to either of two processes.
func TestASecondRegistryOnOneAddressIsRefused(t *testing.T) {
	for _, row := range []struct{ name, scheme, site string }{
		{"plain HTTP", "http", "oci_registry"},
		{"TLS", "https", "tls internal\n\toci_registry"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := alone(row.scheme, row.site)
			first := server.Start(t, server.Options{Caddyfile: text, Scheme: row.scheme})
			second := server.Launch(t, server.Options{Caddyfile: text, Scheme: row.scheme, Port: first.Port})
			if err := second.Wait(patience); err == nil {
				t.Error("the second process ended without an error")
			}
			if want := "another registry process already answers on 127.0.0.1:"; !strings.Contains(second.Log(), want) {
				t.Errorf("the refusal has no %q:\n%s", want, second.Log())
			}
			// The first one is served by a reload as before, and the place is free after it.
			if err := first.Reload(t.Context(), t); err != nil {
				t.Error(err)
			}
			if status, body := request(t, first, "GET", "/v2/_catalog", ""); status != 200 {
				t.Errorf("the first process: %d %s", status, body)
			}
			if err := first.Stop(patience); err != nil {
				t.Error(err)
			}
			server.Start(t, server.Options{Caddyfile: text, Scheme: row.scheme, Port: first.Port})
		})
	}
}

// Another program may answer there: Caddy shares the address only with itself, and the
// doctor reports it.
func TestTheDoctorSeesAnotherProcess(t *testing.T) {
	text := alone("http", "oci_registry")
	s := server.Start(t, server.Options{Caddyfile: text})
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, status := run(t, s, config, "doctor")
	if want := "this registry alone answers on 127.0.0.1:"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("got status %d, %s %s, want %q", status, out, said, want)
	}

	// A program that is not a registry, started after it.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, fmt.Appendf(nil, "{\n\tadmin off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\trespond hello\n}\n", s.Port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := s.Command(t.Context(), t, "run", "--config", other, "--adapter", "caddyfile")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	err := server.Eventually(patience, func() (bool, error) {
		out, said, status = run(t, s, config, "doctor")
		return strings.Contains(out, "were not answered by this registry"), nil
	})
	if err != nil || status != 0 || !strings.Contains(out, "warn  site http://127.0.0.1:") {
		t.Errorf("got %v, status %d, %s %s", err, status, out, said)
	}

	// Without the registry's process, another one on the address keeps it from starting.
	if err := s.Stop(patience); err != nil {
		t.Fatal(err)
	}
	out, said, status = run(t, s, config, "doctor")
	if want := "another program than a registry answers on"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("got status %d, %s %s, want %q", status, out, said, want)
	}
	cmd.Process.Kill()
	cmd.Wait()
	elsewhere := server.Start(t, server.Options{Caddyfile: text, Port: s.Port})
	if elsewhere.Data == s.Data {
		t.Fatal("the two registries have one storage")
	}
	out, said, status = run(t, s, config, "doctor")
	if want := "a registry with another storage answers on"; status != 1 || !strings.Contains(out, want) {
		t.Errorf("got status %d, %s %s, want %q", status, out, said, want)
	}
}

// Another registry behind a proxy on the same server is not a second process on the address.
// Apps start in any order, and the check differs with it.
func TestARegistryBesideAProxyToAnotherStarts(t *testing.T) {
	behind := server.Start(t, server.Options{Caddyfile: alone("http", "oci_registry")})
	text := strings.Replace(alone("http", "oci_registry"), "http://127.0.0.1:{$REGISTRY_PORT} {", fmt.Sprintf(
		"http://other.test:{$REGISTRY_PORT} {\n\tbind 127.0.0.1\n\treverse_proxy %s {\n\t\theader_down -Via\n\t}\n}\nhttp://127.0.0.1:{$REGISTRY_PORT} {", behind.Host), 1)
	for range 4 {
		server.Start(t, server.Options{Caddyfile: text}).Kill()
	}
}
