package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// runs runs a command, which must end with a status, and returns what it printed.
func runs(t *testing.T, status int, args ...string) (out, told string) {
	t.Helper()
	out, told, got := registrytest.Run(t, args...)
	if got != status {
		t.Fatalf("%q: got status %d, want %d: %s%s", args, got, status, out, told)
	}
	return out, told
}

// firstWords returns the first word of each line.
func firstWords(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			words = append(words, fields[0])
		}
	}
	return strings.Join(words, " ")
}

func TestCommandsForContent(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	registrytest.Load(t, strings.Replace(registrytest.Caddyfile(port, storage,
		registrytest.AllowAll+"\n"+registrytest.Mirror("docker.io", upstreamtest.New(t, upstreamtest.Config{})), ""), "admin off", `admin off
	events {
		on * oci_test
	}`, 1))
	r := registrytest.At(t, port)
	image := r.PushImage("team/app", "v1.9.0", registrytest.RandomBytes(3_000_000))
	second := r.PushImage("team/app", "v1.10.0", registrytest.RandomBytes(100))
	r.PushImage("other", "v1.9.0", registrytest.RandomBytes(100))
	s := registrytest.Storage(t)
	trees, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hold(t, trees, "docker.io/library/nginx", "one", "two")
	s.Release()
	whole(r)
	drainHeard()
	at := []string{"--storage", storage}
	with := func(words ...string) []string { return append(words, at...) }

	for _, row := range []struct{ args, want string }{
		{"ls", "REPOSITORY docker.io/library/nginx other team/app"},
		{"ls --order push", "REPOSITORY docker.io/library/nginx other team/app"},
		{"ls --kind private", "REPOSITORY other team/app"},
		{"ls team/", "REPOSITORY team/app"},
		{"ls docker.io/", "REPOSITORY docker.io/library/nginx"},
		{"ls app", "REPOSITORY team/app"},
		{"ls :v1.9.0", "IMAGE other:v1.9.0 team/app:v1.9.0"},
		{"ls " + string(image)[:20], "CONTENT team/app@" + string(image)},
		{"ls nothing", ""},
		{"tags team/app", "TAG v1.10.0 v1.9.0"},
		{"tags team/app --tag 9", "TAG v1.9.0"},
		{"tags docker.io/nginx --order name", "TAG one two"},
		{"show team/app", "repository holds newest pushed pulled"},
		{"show docker.io/nginx:one", "tag since digest tags type artifact size pushed pulled names"},
		{"show team/app:v1.9.0", "tag since digest tags type artifact size pushed pulled names names"},
		{"show team/app@" + string(second), "digest tags type artifact size pushed pulled names names"},
	} {
		// The running process answers.
		out, told := runs(t, registrytest.Done, with(strings.Fields(row.args)...)...)
		if got := firstWords(out); got != row.want || (row.want == "") != strings.Contains(told, "nothing found") {
			t.Errorf("%s: got %q and %q, want %q", row.args, out, told, row.want)
		}
		// So it does over HTTP, where it also says what the caller may do.
		out, _ = runs(t, registrytest.Done, append(strings.Fields(row.args), "--server", r.Base)...)
		if got := strings.TrimSuffix(firstWords(out), strings.Repeat(" may", 4)); got != row.want {
			t.Errorf("%s --server: got %q, want %q", row.args, out, row.want)
		}
	}
	out, _ := runs(t, registrytest.Done, with("show", "team/app:v1.9.0")...)
	if !strings.Contains(out, "3.0 MB to pull, in 1 layers") || !strings.Contains(out, string(image)) {
		t.Errorf("got %s", out)
	}
	out, _ = runs(t, registrytest.Done, with("show", "team/app", "--json")...)
	var shown api.RepositoryAnswer
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Repository.Name != "team/app" || strings.Count(out, "\n") != 1 {
		t.Errorf("got %s: %v", out, err)
	}
	for _, args := range [][]string{with("show", "none:v1"), with("tags", "none"), {"show", "none", "--server", r.Base}} {
		if _, told := runs(t, registrytest.Failed, args...); !strings.Contains(told, "404") {
			t.Errorf("%q: got %q", args, told)
		}
	}
	if _, told := runs(t, registrytest.Failed, "ls", "--server", r.Base+"0"); told == "" {
		t.Error("a server that is not there is no error")
	}
	for _, server := range []string{"ftp://a", "http://", "https://a/b", "https://me:secret@a"} {
		if _, told := runs(t, registrytest.Failed, "ls", "--server", server); !strings.Contains(told, "--server") {
			t.Errorf("%s: got %q", server, told)
		}
	}

	out, _ = runs(t, registrytest.Done, with("rm", "team/app:v1.10.0")...)
	if !strings.HasPrefix(out, "removed the tag team/app:v1.10.0; it named "+string(second)) {
		t.Errorf("got %q", out)
	}
	wantHeard(t, "a removed tag", []string{"registry_delete", "kind:tag", "tag:v1.10.0", "user:command"})
	r.Want(http.StatusOK, "GET", "/v2/team/app/manifests/"+string(second), nil)
	out, _ = runs(t, registrytest.Done, with("rm", "team/app@"+string(second), "--yes")...)
	if out != fmt.Sprintf("deleted team/app@%s, which had no tag\n", second) {
		t.Errorf("got %q", out)
	}
	out, _ = runs(t, registrytest.Done, "rm", "--image", "team/app:v1.9.0", "--server", r.Base)
	if out != fmt.Sprintf("deleted team/app@%s with the tags v1.9.0\n", image) {
		t.Errorf("got %q", out)
	}
	wantHeard(t, "deleted images", []string{"registry_delete", "kind:manifest", "user:command"}, []string{"registry_delete", "kind:manifest"})
	runs(t, registrytest.Failed, with("rm", "team/app:v1.9.0")...)

	// Without a process the storage is opened here.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Released(t)
	out, _ = runs(t, registrytest.Done, with("ls")...)
	if got, want := firstWords(out), "REPOSITORY docker.io/library/nginx other"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(out, "mirror") {
		t.Errorf("got %s, want a mirror in it", out)
	}
	if _, told := runs(t, registrytest.Failed, with("rm", "docker.io/nginx:one")...); !strings.Contains(told, "registry purge") {
		t.Errorf("got %q", told)
	}
	out, _ = runs(t, registrytest.Done, with("rm", "--image", "--dry-run", "other:v1.9.0")...)
	if !strings.Contains(out, "manifests: 1, tags: 1;") {
		t.Errorf("got %q", out)
	}
	out, _ = runs(t, registrytest.Done, with("rm", "other:v1.9.0")...)
	if !strings.HasPrefix(out, "removed the tag other:v1.9.0") {
		t.Errorf("got %q", out)
	}
}

// A command takes the credentials of docker login, and a local user's password at /token.
func TestCommandsForContentWithDockersCredentials(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Load(t, registrytest.Caddyfile(port, t.TempDir(), apiPolicy+"local_user erich "+registrytest.PasswordHash()+" admins", ""))
	r := registrytest.At(t, port)
	secret, _ := registrytest.Key(t)
	by := []string{"Authorization", "Bearer " + secret}
	manifest := manifestOf("{}", "layer")
	for _, blob := range []string{"{}", "layer"} {
		r.Want(http.StatusCreated, "POST", "/v2/team/app/blobs/uploads/?digest="+digestOf(blob), strings.NewReader(blob), by...)
	}
	r.Want(http.StatusCreated, "PUT", "/v2/team/app/manifests/v1", strings.NewReader(manifest), append(by, "Content-Type", "application/vnd.oci.image.manifest.v1+json")...)
	whole(r)
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	login := func(user, password string) {
		_, auth, _ := strings.Cut(registrytest.Basic(user, password), " ")
		text := fmt.Sprintf(`{"auths": {"127.0.0.1:%d": {"auth": %q}}}`, port, auth)
		if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, _ := runs(t, registrytest.Done, "ls", "--server", r.Base); out != "" {
		t.Errorf("anonymous: got %q", out)
	}
	login("x", secret)
	if out, _ := runs(t, registrytest.Done, "ls", "--server", r.Base); firstWords(out) != "REPOSITORY team/app" {
		t.Errorf("a key: got %q", out)
	}
	login("erich", registrytest.Password)
	if out, _ := runs(t, registrytest.Done, "show", "team/app", "--server", r.Base); !strings.Contains(out, "may delete  yes: allow group admins *") {
		t.Errorf("a local user: got %q", out)
	}
	login("erich", "wrong")
	if _, told := runs(t, registrytest.Failed, "ls", "--server", r.Base); !strings.Contains(told, "401") {
		t.Errorf("a wrong password: got %q", told)
	}
}
