package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/builder"
	"github.com/eblume/caddy-registry/integration/server"
)

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

// do runs a program and returns what it printed.
func do(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), server.Tool(t, name), args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

// released makes a release of the commit, in a clone with the given name.
func released(t *testing.T, name string, targets []string, lister string) (dir string, s *source) {
	t.Helper()
	checkout := server.Root(t)
	if builder.Commit(t.Context(), checkout) == "" {
		t.Skip("the sources are not a checkout of git")
	}
	root := filepath.Join(t.TempDir(), name)
	do(t, "git", "-c", "safe.directory=*", "clone", "-q", checkout, root)
	for _, variable := range []string{"GOPROXY", "GONOSUMDB", "GOFLAGS"} {
		if value, ok := os.LookupEnv(variable); ok {
			t.Setenv(variable, value) // restored at the end
		} else {
			t.Setenv(variable, "")
			os.Unsetenv(variable)
		}
	}
	dir = filepath.Join(t.TempDir(), "dist")
	if err := release(t.Context(), root, dir, targets, lister); err != nil {
		t.Fatal(err)
	}
	s, err := describe(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return dir, s
}

// host is the platform of this machine.
var host = runtime.GOOS + "/" + runtime.GOARCH

// The archive, the package and the image of a release serve, and report their version and
// commit.
func TestARelease(t *testing.T) {
	dir, s := released(t, "clone", []string{host}, "")
	file := func(rest string) string { return filepath.Join(dir, s.name(rest)) }
	in := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, out)
		}
		return string(out)
	}
	in("sha256sum", "--check", "--strict", sumsFile)
	text, err := os.ReadFile(filepath.Join(dir, provenanceFile))
	if err != nil {
		t.Fatal(err)
	}
	var provenance statement
	if err := json.Unmarshal(text, &provenance); err != nil {
		t.Fatal(err)
	}
	if got := provenance.Predicate.Definition.Dependencies[0].Digest.Commit; got != s.commit || len(provenance.Subject) != 4 {
		t.Errorf("the provenance has %d files of the commit %s, want 4 of %s", len(provenance.Subject), got, s.commit)
	}

	archive := t.TempDir()
	do(t, "tar", "-xzf", file(strings.ReplaceAll(host, "/", "_")+".tar.gz"), "-C", archive, "--strip-components=1")
	says := do(t, filepath.Join(archive, product), "version")
	if !strings.Contains(says, s.version) || !strings.Contains(says, s.commit[:12]) {
		t.Errorf("the program says %q, want version %s and commit %s", says, s.version, s.commit[:12])
	}
	binary, err := os.ReadFile(filepath.Join(archive, product))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.root, os.TempDir()} {
		if bytes.Contains(binary, []byte(path+"/")) {
			t.Errorf("the program has the path %s in it", path)
		}
	}

	root := t.TempDir()
	do(t, "dpkg-deb", "-x", file(runtime.GOARCH+".deb"), root)
	packed, err := os.ReadFile(filepath.Join(root, "usr/bin", product))
	if err != nil || !bytes.Equal(packed, binary) {
		t.Errorf("the package has another program than the archive: %v", err)
	}
	unit(t, root)
	serves(t, root, dir, s)
}

// unit lets systemd verify the service of an unpacked package.
func unit(t *testing.T, root string) {
	t.Helper()
	const name = "caddy-registry.service"
	text, err := os.ReadFile(filepath.Join(root, "lib/systemd/system", name))
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), name)
	here := strings.ReplaceAll(string(text), "/usr/bin/", root+"/usr/bin/")
	if err := os.WriteFile(unit, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := do(t, "systemd-analyze", "verify", "--man=no", unit); said != "" { // it only warns of unknown settings
		t.Errorf("systemd: %s", said)
	}
	do(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
}

// serves starts the program of an unpacked package with its Caddyfile and the environment of
// its unit, and pushes the image of the release to it.
func serves(t *testing.T, root, dir string, s *source) {
	t.Helper()
	state, port := t.TempDir(), server.FreePort(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin", product), "run", "--config", filepath.Join(root, "etc/caddy-registry/Caddyfile"))
	unit, err := os.ReadFile(filepath.Join(root, "lib/systemd/system/caddy-registry.service"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{fmt.Sprintf("REGISTRY_PORT=%d", port)}
	for line := range strings.Lines(string(unit)) {
		if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment="); ok {
			cmd.Env = append(cmd.Env, strings.NewReplacer("/var/lib/caddy-registry", state, "/run/caddy-registry", state).Replace(setting))
		}
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // the status is that of a kill
		if t.Failed() {
			t.Logf("the program: %s", &said)
		}
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	client := server.Client(patience)
	defer client.CloseIdleConnections()
	err = server.Eventually(patience, func() (bool, error) {
		response, err := client.Get("http://" + address + "/livez")
		if err != nil {
			return false, nil
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	made := do(t, filepath.Join(root, "usr/bin", product), "registry", "key", "create", "--storage", filepath.Join(state, "storage"),
		"--user", "me", "--group", "admins")
	key := made[strings.Index(made, "cregk_"):]
	key = strings.Fields(key)[0]
	image := "oci-archive:" + filepath.Join(dir, s.name("image.tar"))
	ref := "docker://" + address + "/team/registry:v1"
	do(t, "skopeo", "copy", "--insecure-policy", "--all", "--dest-tls-verify=false", "--dest-creds", "me:"+key, image, ref)
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
	}
	if err := json.Unmarshal([]byte(do(t, "skopeo", "inspect", "--tls-verify=false", "--config", ref)), &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/usr/bin/caddy-registry" {
		t.Errorf("the image has the configuration %+v", config)
	}
	if os.Getenv("REGISTRY_SLOW") != "" {
		runs(t, "127.0.0.1:"+fmt.Sprint(port)+"/team/registry:v1", s)
	}
}

// runs runs an image with podman.
func runs(t *testing.T, ref string, s *source) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	says := do(t, "podman", "--storage-driver", "vfs", "--root", filepath.Join(home, "root"), "--runroot", filepath.Join(home, "run"),
		"--tmpdir", filepath.Join(home, "tmp"), "--cgroup-manager", "cgroupfs", "--runtime", server.Tool(t, "runc"),
		"run", "--rm", "--tls-verify=false", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", ref, "version")
	if !strings.Contains(says, s.version) {
		t.Errorf("the image says %q, want the version %s", says, s.version)
	}
}

// Two releases of one commit, from two directories, are the same.
func TestReleasesAreTheSameEverywhere(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("builds everything twice: make test-all")
	}
	var sums []string
	for _, name := range []string{"one", "another-with-a-longer-name"} {
		dir, _ := released(t, name, strings.Split(allTargets, ","), server.Tool(t, "cyclonedx-gomod"))
		text, err := os.ReadFile(filepath.Join(dir, sumsFile))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(text))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if sums[0] != sums[1] || strings.Count(sums[0], "\n") != 13 {
		t.Errorf("got the sums\n%sand\n%s, want the same 13", sums[0], sums[1])
	}
}

func TestAReleaseIsACommit(t *testing.T) {
	root := t.TempDir()
	if _, err := describe(t.Context(), root); err == nil || !strings.Contains(err.Error(), "not a checkout") {
		t.Errorf("without git: got %v", err)
	}
	git := func(args ...string) {
		t.Helper()
		do(t, "git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	}
	file := filepath.Join(root, "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("one")
	git("add", "file")
	git("commit", "-q", "-m", "one", "--date", "2026-11-30T12:00:00Z")
	s, err := describe(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if want := "v0.0.0-" + s.when.Format("20060102150405") + "-" + s.commit[:12]; s.version != want {
		t.Errorf("without a tag: got %s, want %s", s.version, want)
	}
	git("tag", "not-a-version")
	git("tag", "v1.2.3")
	if s, err = describe(t.Context(), root); err != nil || s.version != "v1.2.3" {
		t.Errorf("with a tag: got %+v and %v", s, err)
	}
	write("two")
	if _, err := describe(t.Context(), root); err == nil || !strings.Contains(err.Error(), "commit them first") {
		t.Errorf("with changes: got %v", err)
	}
}

func TestTheEntryOfTheChangelog(t *testing.T) {
	const changelog = "# Changelog\n\n## [Unreleased]\n\nnew\n\n## [1.2.3] - 2026-11-30\n\n### Added\n\n- this\n\n## [1.2.2]\n\n- that\n"
	for version, want := range map[string]string{
		"1.2.3": "### Added\n\n- this\n", "1.2.2": "- that\n", "0.0.0-20261130000000-0123456789ab": "new\n", "9.9.9": "",
	} {
		got, err := entryOf(changelog, version)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q and %v, want %q", version, got, err, want)
		}
	}
}

// A pre-release is older than its release also for dpkg.
func TestTheVersionOfThePackage(t *testing.T) {
	for _, row := range [][2]string{{"v1.2.3-rc.1", "v1.2.3"}, {"v1.2.3", "v1.2.4"}, {"v0.0.0-20261129000000-ffffffffffff", "v0.0.0-20261130000000-000000000000"}} {
		do(t, "dpkg", "--compare-versions", debianVersion(row[0]), "lt", debianVersion(row[1]))
	}
}
