package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// doctor runs `registry doctor` of the binary on a registry whose cache has options,
// and returns the line about the cache, and the exit status.
func doctor(t *testing.T, options string) (line string, status int) {
	t.Helper()
	config, storage := filepath.Join(t.TempDir(), "Caddyfile"), t.TempDir()
	text := fmt.Sprintf("{\n\toci {\n\t\tstorage file %s\n\t\tmin_free 1\n\t\tcache redis {\n%s\n}\n}\n}\n", storage, options)
	for file, content := range map[string]string{
		config: text,
		// Otherwise the doctor reports that there is no storage.
		filepath.Join(storage, "layout.json"): `{"version":3}`,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), server.Binary(t), "registry", "doctor", "--config", config)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		status = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if all := string(out) + said.String(); strings.Contains(all, "hunter2") {
		t.Errorf("the doctor prints the secret: %s", all)
	}
	for found := range strings.Lines(string(out)) {
		if strings.Contains(found, " cache: ") {
			return found, status
		}
	}
	t.Fatalf("the doctor reports nothing about the cache: %s %s", out, said.String())
	return "", 0
}

// Errors of a Redis are sentences that name a remedy.
func TestDoctorReportsProblemsWithRedis(t *testing.T) {
	t.Setenv("REDIS_PASSWORD", "hunter2")
	t.Setenv("REDIS_WRONG", "hunter2, but another")
	plain := startRedis(t, server.FreePort(t))
	secured := &redisServer{port: server.FreePort(t), password: "hunter2"}
	secured.start(t, []string{"--port", strconv.Itoa(secured.port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--requirepass", "hunter2", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"})
	secured.must(t, "ACL SETUSER reader on >hunter2 ~caddy-registry:* +get +getrange +ping")
	secured.must(t, "ACL SETUSER enough on >hunter2 ~caddy-registry:* +getrange +set +del")
	full := startRedis(t, server.FreePort(t), "--maxmemory", "1", "--maxmemory-policy", "noeviction")
	replica := startRedis(t, server.FreePort(t), "--replicaof", "127.0.0.1", strconv.Itoa(plain.port))
	alone := startRedis(t, server.FreePort(t), "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(server.FreePort(t)))

	ours := newAuthority(t)
	certificate, key := ours.pair(t, "redis.test")
	encrypted := &redisServer{port: server.FreePort(t), tls: &tls.Config{InsecureSkipVerify: true}}
	encrypted.start(t, []string{"--port", "0", "--tls-port", strconv.Itoa(encrypted.port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ours.path, "--tls-auth-clients", "no"})

	sentinel := &redisServer{port: server.FreePort(t)}
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "port %d\nbind 127.0.0.1\nsentinel monitor registry 127.0.0.1 %d 1\n", sentinel.port, plain.port), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.start(t, []string{config, "--sentinel"})

	replica.eventually(t, "INFO replication", func(answer string) bool { return strings.Contains(answer, "master_link_status:up") })
	for _, row := range []struct {
		name, options string
		ok            bool
		want          string
	}{
		{"one that is well", plain.option(), true, "can be written and read"},
		{"one with a password", secured.option() + "\npassword {env.REDIS_PASSWORD}", true, "of 50 MiB, then allkeys-lru makes room"},
		{"one of sentinels", sentinel.option() + "\nsentinel registry", true, "can be written and read"},
		{"one by TLS", encrypted.option() + "\ntls {\nca " + ours.path + "\nserver_name redis.test\n}", true, "can be written and read"},
		{"a user with enough rights", secured.option() + "\nuser enough\npassword {env.REDIS_PASSWORD}", true, "says nothing to this user"},
		{"no password", secured.option(), false, "check user and password"},
		{"another password", secured.option() + "\npassword {env.REDIS_WRONG}", false, "check user and password"},
		{"a user that may only read", secured.option() + "\nuser reader\npassword {env.REDIS_PASSWORD}", false, "allow getrange, set and del"},
		{"one that is full", full.option(), false, "set maxmemory-policy"},
		{"a replica", replica.option(), false, "name the master, or the sentinels"},
		{"a node of a cluster", alone.option(), false, "write cluster"},
		{"no cluster", plain.option() + "\ncluster", false, "remove cluster"},
		{"a master that the sentinels do not know", sentinel.option() + "\nsentinel other", false, "do not know a master of the name other"},
		{"another authority", encrypted.option() + "\ntls {\nca " + newAuthority(t).path + "\nserver_name redis.test\n}", false, "tls { ca"},
		{"another name", encrypted.option() + "\ntls {\nca " + ours.path + "\n}", false, "server_name"},
		{"TLS to a server without it", plain.option() + "\ntls", false, "remove tls"},
		{"no TLS to a server that requires it", encrypted.option(), false, "if it requires TLS, write tls"},
		{"no server", fmt.Sprintf("address 127.0.0.1:%d", server.FreePort(t)), false, "the upstreams are asked for what others know"},
	} {
		got, status := doctor(t, row.options)
		if !strings.Contains(got, row.want) || strings.HasPrefix(got, "fail ") == row.ok || (status == 0) != row.ok {
			t.Errorf("%s: got status %d and %swant %q", row.name, status, got, row.want)
		}
	}
}
