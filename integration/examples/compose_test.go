package examples

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/eblume/caddy-registry/integration/server"
)

func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), name, args...)
}

// project is the compose example, as compose itself loads it: checked against the schema, and
// with its variables replaced.
func project(t *testing.T) *types.Project {
	t.Helper()
	file := path(t, "compose", "compose.yaml")
	p, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(file),
		ConfigFiles: []types.ConfigFile{{Filename: file}},
		Environment: types.Mapping{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheComposeFileFitsItsCaddyfile(t *testing.T) {
	p := project(t)
	for name, service := range p.Services {
		pinned(t, service.Image)
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || service.Restart == "" || service.HealthCheck == nil {
			t.Errorf("%s: want a root that is read-only, no capability, a restart policy and a health check", name)
		}
	}
	c, registry := adapted(t, read(t, "compose", "Caddyfile")), p.Services["registry"]
	var provided []string
	for _, secret := range registry.Secrets {
		provided = append(provided, "/run/secrets/"+secret.Source)
		if p.Secrets[secret.Source].File == "" {
			t.Errorf("no file is given for the secret %s", secret.Source)
		}
	}
	c.fits(t, "/data", provided, time.Duration(*registry.StopGracePeriod))
	mounted := map[string]string{}
	for _, volume := range registry.Volumes {
		mounted[volume.Target] = volume.Type
	}
	if mounted["/data"] != "volume" || mounted["/etc/caddy-registry/Caddyfile"] != "bind" {
		t.Errorf("got the mounts %v, want a volume at /data, and the Caddyfile of the image replaced", mounted)
	}
	for _, port := range registry.Ports {
		if !slices.Contains(c.ports, int(port.Target)) || slices.Contains(c.loopback, int(port.Target)) {
			t.Errorf("the port %d is published, but the Caddyfile listens on %v, on loopback on %v", port.Target, c.ports, c.loopback)
		}
	}
	if len(p.Services["redis"].Ports) > 0 || !p.Networks["back"].Internal {
		t.Error("Redis is reached from outside")
	}
}

// The services of the compose file run as it says, but for paths and ports, and report that they
// are healthy.
func TestTheComposeFileServes(t *testing.T) {
	p := project(t)
	redis, port, secret := p.Services["redis"], fmt.Sprint(server.FreePort(t)), write(t, "the password")
	server.Tool(t, "redis-server")
	server.Tool(t, "redis-cli")
	local := func(text string) string {
		return replaced(t, text, "/run/secrets/redis", secret)
	}
	script := replaced(t, local(redis.Command[2]), "dir /tmp\n", "dir "+t.TempDir()+"\nport "+port+"\nbind 127.0.0.1\n")
	cache := command(t, redis.Command[0], redis.Command[1], script)
	if err := cache.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cache.Process.Kill()
		cache.Wait() // the status is that of a kill
	}()
	check := replaced(t, local(redis.HealthCheck.Test[1]), "redis-cli ping", "redis-cli -p "+port+" ping")
	if err := server.Eventually(patience, func() (bool, error) {
		return command(t, "sh", "-c", check).Run() == nil, nil
	}); err != nil {
		t.Fatalf("Redis is not healthy: %v", err)
	}
	if out, err := command(t, "redis-cli", "-p", port, "ping").CombinedOutput(); !strings.Contains(string(out), "NOAUTH") {
		t.Errorf("without its password Redis says %s, %v", out, err)
	}

	s := server.Start(t, server.Options{Caddyfile: replaced(t, read(t, "compose", "Caddyfile"),
		"http_port 8080", fmt.Sprintf("http_port %d\n\tdefault_bind 127.0.0.1\n\tlocal_certs\n\tskip_install_trust", server.FreePort(t)),
		"https_port 8443", fmt.Sprintf("https_port %d", server.FreePort(t)),
		"/data/storage", "{$REGISTRY_DATA}",
		"redis:6379", "127.0.0.1:"+port,
		"/run/secrets/redis", secret,
		"http://:5050", "http://:{$REGISTRY_PORT}")})
	health := p.Services["registry"].HealthCheck.Test
	if health[0] != "CMD" || health[1] != "caddy-registry" {
		t.Fatalf("got the health check %q, want the program of the image", health)
	}
	args := strings.Split(replaced(t, strings.Join(health[2:], " "), "127.0.0.1:5050", s.Host), " ")
	out, err := s.Command(t.Context(), t, args...).CombinedOutput()
	if err != nil {
		t.Errorf("the registry is not healthy: %v: %s", err, out)
	}
	examined, err := s.Command(t.Context(), t, "registry", "doctor", "--json").Output()
	if !strings.Contains(string(examined), `{"check":"cache","level":"ok"`) {
		t.Errorf("the doctor says %s, %v; want that Redis is well", examined, err)
	}
	s.Kill()
	if out, err := s.Command(t.Context(), t, args...).CombinedOutput(); err == nil {
		t.Errorf("a registry that does not run is healthy: %s", out)
	}
}
