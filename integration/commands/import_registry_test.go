package commands

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// closed is a registry that nobody reads without a login.
const closed = `{
	oci {
		storage file {$REGISTRY_DATA}
		policy {
			allow group admins *
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`

// public is a registry of some names that everybody reads.
const public = `{
	oci {
		storage file {$REGISTRY_DATA}
		private team/**
		policy {
			allow anonymous read
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`

// imported is the last line of an import with --json.
type imported struct {
	Result struct {
		Summary struct {
			Imported, Unchanged int
			LeftOut             int `json:"left_out"`
		}
	}
}

// importing runs an import with --json.
func importing(t *testing.T, s *server.Server, config string, args ...string) (imported, string, int) {
	t.Helper()
	out, said, status := run(t, s, config, append(append([]string{"import"}, args...), "--json")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last imported
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil && status == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	return last, said, status
}

// Images come from another registry with the credentials of the command or of docker login,
// and from a directory that skopeo has written. What was pushed here stays.
func TestImportingFromARegistryAndALayout(t *testing.T) {
	from := server.Start(t, server.Options{Caddyfile: closed})
	secret, _ := from.Key(t, "me", "admins")
	source := client.New(from.URL).Login("me", secret)
	defer source.Close()
	push := func(repo, tag string, seed uint64) client.Image {
		t.Helper()
		image := client.NewImage(seed, 2, 1000)
		if err := source.PushImage(t.Context(), repo, tag, image); err != nil {
			t.Fatal(err)
		}
		return image
	}
	push("team/app", "v1", 1)
	push("team/app", "latest", 1)
	push("team/deep/er", "v1", 2)
	push("other/app", "v1", 3)

	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	to := server.Start(t, server.Options{Caddyfile: public})
	target := client.New(to.URL)
	defer target.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("IMPORT_KEY", secret)
	names := []string{"registry", from.Host, "team/**", "--plain-http"}

	if out, said, status := run(t, to, config, "import", "registry", from.Host, "team/app", "--plain-http"); status != 1 || !strings.Contains(out, "UNAUTHORIZED") {
		t.Errorf("without credentials: status %d, %s%s", status, out, said)
	}
	// Without a right to anything, the list of repositories is empty.
	if out, said, status := run(t, to, config, append([]string{"import"}, names...)...); status != 1 || !strings.Contains(said, "give credentials") {
		t.Errorf("of everything, without credentials: status %d, %s%s", status, out, said)
	}
	with := append(names, "--username", "me", "--password", "{env.IMPORT_KEY}")
	if got, said, status := importing(t, to, config, append(with, "--dry-run")...); status != 0 || got.Result.Summary.Imported != 3 {
		t.Errorf("dry run: status %d, %+v, %s", status, got, said)
	}
	if _, err := target.PullImage(t.Context(), "team/app", "v1"); err == nil {
		t.Error("the dry run has imported")
	}
	if got, said, status := importing(t, to, config, with...); status != 0 || got.Result.Summary.Imported != 3 {
		t.Errorf("import: status %d, %+v, %s", status, got, said)
	}
	for _, ref := range [][2]string{{"team/app", "v1"}, {"team/app", "latest"}, {"team/deep/er", "v1"}} {
		if _, err := target.PullImage(t.Context(), ref[0], ref[1]); err != nil {
			t.Errorf("%s:%s: %v", ref[0], ref[1], err)
		}
	}
	if log := to.Log(); strings.Contains(log, secret) || !strings.Contains(log, "registry "+from.Host) {
		t.Errorf("the log has the key or does not say what was imported: %s", log)
	}

	// The second time with docker login, after a tag has moved and another repository was asked for.
	push("team/app", "latest", 4)
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, from.Host, base64.StdEncoding.EncodeToString([]byte("me:"+secret)))
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	got, said, status := importing(t, to, config, "registry", from.Host, "--plain-http")
	if sum := got.Result.Summary; status != 1 || sum.Imported != 1 || sum.Unchanged != 2 || sum.LeftOut != 1 {
		t.Errorf("the second import, of everything: status %d, %+v, %s", status, got, said)
	}

	skopeo := server.Tool(t, "skopeo")
	dir := filepath.Join(t.TempDir(), "layout")
	copied := exec.CommandContext(t.Context(), skopeo, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+to.Host+"/team/app:v1", "oci:"+dir+":v7")
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	if got, said, status := importing(t, to, config, "oci-layout", dir, "team/layout"); status != 0 || got.Result.Summary.Imported != 1 {
		t.Errorf("a layout: status %d, %+v, %s", status, got, said)
	}
	if _, err := target.PullImage(t.Context(), "team/layout", "v7"); err != nil {
		t.Errorf("of the layout: %v", err)
	}
	archive := filepath.Join(t.TempDir(), "app.tar")
	copied = exec.CommandContext(t.Context(), skopeo, "copy", "--insecure-policy", "oci:"+dir+":v7", "oci-archive:"+archive+":v8")
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	if got, said, status := importing(t, to, config, "oci-layout", archive, "team/archive"); status != 0 || got.Result.Summary.Imported != 1 {
		t.Errorf("an archive: status %d, %+v, %s", status, got, said)
	}
	if _, err := target.PullImage(t.Context(), "team/archive", "v8"); err != nil {
		t.Errorf("of the archive: %v", err)
	}
	exported(t, to, config)
	if err := to.Stop(patience); err != nil {
		t.Fatal(err)
	}
	exported(t, to, config)
	// Without a server, the command opens the storage itself.
	if got, said, status := importing(t, to, config, "oci-layout", dir, "team/layout"); status != 0 || got.Result.Summary.Unchanged != 1 {
		t.Errorf("again, alone: status %d, %+v, %s", status, got, said)
	}
}

// exported lets skopeo read what is exported, as a directory and as one file.
func exported(t *testing.T, s *server.Server, config string) {
	t.Helper()
	at := t.TempDir()
	for name, read := range map[string]string{"layout": "oci:%s:v7", "app.tar": "oci-archive:%s:v7"} {
		path := filepath.Join(at, name)
		out, said, status := run(t, s, config, "export", "oci-layout", "team/layout", path)
		if status != 0 || !strings.Contains(out, path) {
			t.Errorf("export to %s: status %d, %s%s", name, status, out, said)
		}
		copied := exec.CommandContext(t.Context(), server.Tool(t, "skopeo"), "copy", "--insecure-policy", fmt.Sprintf(read, path), "dir:"+path+".copy")
		if out, err := copied.CombinedOutput(); err != nil {
			t.Errorf("skopeo: %v: %s", err, out)
		}
		for _, row := range []struct {
			args []string
			says string
		}{
			{[]string{"team/layout", path}, name}, // it is there
			{[]string{"team/layout:v9", path + ".new"}, "v9"},
			{[]string{"team/none", filepath.Join(at, "none.tar")}, "team/none"},
		} {
			out, said, status := run(t, s, config, append([]string{"export", "oci-layout"}, row.args...)...)
			if status != 1 || !strings.Contains(said, row.says) {
				t.Errorf("export %v: status %d, %s%s", row.args, status, out, said)
			}
		}
		for _, gone := range []string{path + ".new", filepath.Join(at, "none.tar")} {
			if _, err := os.Stat(gone); !os.IsNotExist(err) {
				t.Errorf("a failed export has left %s: %v", gone, err)
			}
		}
	}
}

func TestImportsThatCannotBe(t *testing.T) {
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server.Start(t, server.Options{Caddyfile: public})
	empty := t.TempDir()
	for _, row := range []struct {
		status int
		says   string
		args   []string
	}{
		{2, "usage:", []string{"registry"}},
		{2, "https://", []string{"registry", "https://registry.example.org"}},
		{2, "go together", []string{"registry", "registry.example.org", "--username", "me"}},
		{1, "--password", []string{"registry", "127.0.0.1:1", "--username", "me", "--password", "{env.NO_SUCH_VARIABLE}"}},
		{1, "list the repositories", []string{"registry", "127.0.0.1:1", "--plain-http"}},
		{2, "usage:", []string{"oci-layout", empty}},
		{2, "Team", []string{"oci-layout", empty, "Team/App"}},
		{1, "not an OCI image layout", []string{"oci-layout", empty, "team/app"}},
	} {
		out, said, status := run(t, s, config, append([]string{"import"}, row.args...)...)
		if status != row.status || !strings.Contains(said, row.says) {
			t.Errorf("import %v: status %d, %s%s; want %d and %q", row.args, status, out, said, row.status, row.says)
		}
	}
}
