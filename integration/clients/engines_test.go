package clients

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

// daemonLimit bounds the start and the end of containerd and dockerd.
const daemonLimit = 60 * time.Second

// Engines unpack pulled images and repack pushed ones, so they choose the digest. The registry
// must have the complete pushed image, and the program must run after the round trip.

func TestPodman(t *testing.T) {
	r, h := start(t), newHome(t)
	ref := r.ref("team/podman:v1")
	podman := podmanIn(t, h)
	podman("load", "--input", archive(t, h, ref))
	podman("push", "--tls-verify=false", "--digestfile", h.path("digest"), ref)
	r.holds(t, "team/podman", "v1", digestIn(t, h.path("digest")))
	podman("rmi", "--all", "--force")
	podman("pull", "--tls-verify=false", ref)
	if got := podman(append(podmanRun, ref)...); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
}

// podmanRun runs a container. Podman requests more open files than are allowed in a CI
// container.
var podmanRun = []string{"run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}

// podmanIn returns podman with everything that it keeps in the home.
func podmanIn(t *testing.T, h home) func(args ...string) string {
	t.Helper()
	runtime := server.Tool(t, "runc")
	return func(args ...string) string {
		t.Helper()
		return h.run(t, "podman", append([]string{
			"--storage-driver", "vfs", "--root", h.path("root"), "--runroot", h.path("run"), "--tmpdir", h.path("tmp"),
			"--cgroup-manager", "cgroupfs", "--runtime", runtime,
		}, args...)...)
	}
}

func TestBuildah(t *testing.T) {
	r, h := start(t), newHome(t)
	ref := r.ref("team/buildah:v1")
	buildah := func(args ...string) string {
		return strings.TrimSpace(h.run(t, "buildah", append([]string{
			"--storage-driver", "vfs", "--root", h.path("root"), "--runroot", h.path("run"),
		}, args...)...))
	}
	built := buildah("from", "scratch")
	buildah("copy", built, server.Tool(t, "busybox"), "/bin/busybox")
	buildah("config", "--entrypoint", `["/bin/busybox","echo","hello"]`, built)
	for _, format := range []string{"oci", "docker"} {
		buildah("commit", "--format", format, built, ref)
		buildah("push", "--tls-verify=false", "--digestfile", h.path("digest"), ref)
		r.holds(t, "team/buildah", "v1", digestIn(t, h.path("digest")))
	}
	buildah("rmi", "--all", "--force")
	again := buildah("from", "--tls-verify=false", ref)
	if root := buildah("mount", again); root == "" {
		t.Error("pulled image has no root")
	} else if want, got := fileDigest(t, server.Tool(t, "busybox")), fileDigest(t, root+"/bin/busybox"); got != want {
		t.Errorf("program pulled is %s, want %s", got, want)
	}
}

// debianContainerd configures the containerd of Debian, without what k8s needs.
const debianContainerd = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"

// containerdIn starts a containerd with everything that it keeps in the home, and
// returns its client. suffix is that of the programs' names.
func containerdIn(t *testing.T, h home, suffix, config string) func(args ...string) string {
	t.Helper()
	address := h.path("containerd.sock")
	if err := os.WriteFile(h.path("config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctr := func(args ...string) (string, error) {
		return h.try(t, "ctr"+suffix, append([]string{"--address", address, "--namespace", "test"}, args...)...)
	}
	daemon(t, h, func() error { _, err := ctr("version"); return err },
		"containerd"+suffix, "--config", h.path("config.toml"), "--address", address, "--root", h.path("root"), "--state", h.path("state"))
	return func(args ...string) string {
		t.Helper()
		out, err := ctr(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestContainerd(t *testing.T) {
	r, h := start(t), newHome(t)
	ref := r.ref("team/containerd:v1")
	must := containerdIn(t, h, "", debianContainerd)

	must("images", "import", "--snapshotter", "native", archive(t, h, ref))
	must("images", "push", "--plain-http", ref)
	want := digest.Digest(strings.Fields(must("images", "list", "name=="+ref))[8])
	r.holds(t, "team/containerd", "v1", want)
	must("images", "remove", "--sync", ref)
	must("images", "pull", "--plain-http", "--snapshotter", "native", ref)
	if got := must("run", "--rm", "--snapshotter", "native", ref, "hello"); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
}

func TestDocker(t *testing.T) {
	r, h := start(t), newHome(t)
	ref := r.ref("team/docker:v1")
	must := dockerIn(t, h)
	must("load", "--input", archive(t, h, ref))
	pushed := must("push", ref)
	_, after, found := strings.Cut(pushed, "digest: ")
	if !found {
		t.Fatalf("docker push names no digest:\n%s", pushed)
	}
	want := digest.Digest(strings.Fields(after)[0])
	r.holds(t, "team/docker", "v1", want)
	must("image", "rm", "--force", ref)
	// By digest: the pushed image, and no other image with the same name.
	must("pull", r.ref("team/docker@"+want.String()))
	if got := must("run", "--rm", "--network", "none", r.ref("team/docker@"+want.String())); got != "hello\n" {
		t.Errorf("container printed %q, want hello", got)
	}
}

// dockerIn starts a daemon with everything that it keeps in the home, and returns
// its client.
func dockerIn(t *testing.T, h home, options ...string) func(args ...string) string {
	t.Helper()
	host := "unix://" + h.path("docker.sock")
	docker := func(args ...string) (string, error) {
		return h.try(t, "docker", append([]string{"--host", host}, args...)...)
	}
	daemon(t, h, func() error { _, err := docker("info"); return err },
		"dockerd", append([]string{"--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
			"--data-root", h.path("root"), "--exec-root", h.path("exec"), "--pidfile", h.path("docker.pid"), "--host", host}, options...)...)
	return func(args ...string) string {
		t.Helper()
		out, err := docker(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// archive is busybox's image as `docker save` writes it, under the name ref.
func archive(t *testing.T, h home, ref string) string {
	t.Helper()
	return archiveOf(t, h, ref, busybox(t))
}

// archiveOf is archive for another image.
func archiveOf(t *testing.T, h home, ref string, image v1.Image) string {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := h.path("image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// daemon runs a daemon until the test ends, and returns when it is ready.
func daemon(t *testing.T, h home, ready func() error, tool string, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s wants root", tool)
		}
		t.Skipf("%s wants root", tool)
	}
	log, err := os.Create(h.path(tool + ".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(server.Tool(t, tool), args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = h.env, h.dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(daemonLimit):
			cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			said, _ := os.ReadFile(h.path(tool + ".log"))
			t.Logf("%s:\n%s", tool, said[max(0, len(said)-4<<10):])
		}
	})
	var last error
	err = server.Eventually(daemonLimit, func() (bool, error) {
		select {
		case err := <-exited:
			exited <- err
			return false, err
		default:
		}
		last = ready()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s is not ready: %v: %v", tool, err, last)
	}
}

// digestIn is the digest that a client wrote to a file.
func digestIn(t *testing.T, path string) digest.Digest {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(strings.TrimSpace(string(text)))
}

// fileDigest is the digest of a file's content.
func fileDigest(t *testing.T, path string) digest.Digest {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(content)
}
