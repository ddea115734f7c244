package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/eblume/caddy-registry/integration/server"
)

func TestPodmanSignsIn(t *testing.T) {
	r, h := guarded(t)
	podman := func(t *testing.T, h home, args ...string) error {
		return command(t, h, "podman", append([]string{
			"--storage-driver", "vfs", "--root", h.path("root"), "--runroot", h.path("run"), "--tmpdir", h.path("tmp"),
			"--cgroup-manager", "cgroupfs", "--runtime", server.Tool(t, "runc"),
		}, args...)...)
	}
	signing{
		packs: true,
		login: func(t *testing.T, h home, host string, who caller) error {
			return podman(t, h, "login", "--username", who.user, "--password", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			if err := podman(t, h, "load", "--input", archiveOf(t, h, ref, image)); err != nil {
				t.Fatal(err)
			}
			return podman(t, h, "push", ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error { return podman(t, h, "pull", ref) },
	}.keepsTiers(t, r, h)
}

func TestContainerdSignsIn(t *testing.T) {
	r, h := guarded(t)
	address := h.path("containerd.sock")
	config := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	if err := os.WriteFile(h.path("config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctr := func(t *testing.T, h home, args ...string) error {
		return command(t, h, "ctr", append([]string{"--address", address, "--namespace", "test"}, args...)...)
	}
	// Without a file for the host, ctr speaks plain HTTP to every loopback address.
	hosts := h.path("hosts/" + r.Host)
	if err := os.MkdirAll(hosts, 0o700); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("server = %q\n[host.%q]\n  ca = %q\n", r.URL, r.URL, r.Authority())
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	// remote runs a command of ctr that uses the registry as a caller.
	remote := func(t *testing.T, h home, who caller, verb string, args ...string) error {
		options := []string{"images", verb, "--hosts-dir", h.path("hosts")}
		if who.user != "" {
			options = append(options, "--user", who.user+":"+who.secret)
		}
		return ctr(t, h, append(options, args...)...)
	}
	daemon(t, h, func() error { return ctr(t, h, "version") },
		"containerd", "--config", h.path("config.toml"), "--address", address, "--root", h.path("root"), "--state", h.path("state"))
	signing{
		packs: true,
		push: func(t *testing.T, h home, who caller, image v1.Image, ref string) error {
			if err := ctr(t, h, "images", "import", "--snapshotter", "native", archiveOf(t, h, ref, image)); err != nil {
				t.Fatal(err)
			}
			return remote(t, h, who, "push", ref)
		},
		pull: func(t *testing.T, h home, who caller, ref string) error {
			return remote(t, h, who, "pull", "--snapshotter", "native", ref)
		},
	}.keepsTiers(t, r, h)
}

func TestDockerSignsIn(t *testing.T) {
	r, h := guarded(t)
	host := "unix://" + h.path("docker.sock")
	docker := func(t *testing.T, h home, args ...string) error {
		return command(t, h, "docker", append([]string{"--host", host}, args...)...)
	}
	daemon(t, h, func() error { return docker(t, h, "info") },
		"dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
		"--data-root", h.path("root"), "--exec-root", h.path("exec"), "--pidfile", h.path("docker.pid"), "--host", host)
	signing{
		packs: true,
		login: func(t *testing.T, h home, host string, who caller) error {
			return docker(t, h, "login", "--username", who.user, "--password", who.secret, host)
		},
		push: func(t *testing.T, h home, _ caller, image v1.Image, ref string) error {
			if err := docker(t, h, "load", "--input", archiveOf(t, h, ref, image)); err != nil {
				t.Fatal(err)
			}
			return docker(t, h, "push", ref)
		},
		pull: func(t *testing.T, h home, _ caller, ref string) error {
			return docker(t, h, "pull", ref)
		},
	}.keepsTiers(t, r, h)
}
