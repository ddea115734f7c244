package zot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/transfer/zot"
)

func TestTheConfigurationOfAZot(t *testing.T) {
	c, err := zot.ReadConfig(testdata + "config.json")
	if err != nil {
		t.Fatal(err)
	}
	all := c.Repositories["**"]
	if len(all.Policies) != 1 || len(all.Policies[0].Users) != 2 || c.HTTP.Auth.HTPasswd.Path != "./ht" {
		t.Errorf("%+v", c)
	}
	if _, err := c.Root(); err == nil || !strings.Contains(err.Error(), "write <rootdir>") {
		t.Errorf("a relative root directory: %v", err)
	}

	c, err = zot.ReadConfig("../../../examples/registry.ops.eblu.me/zot.json")
	if err != nil {
		t.Fatal(err)
	}
	if root, err := c.Root(); root != "/Users/erich/zot" || err != nil {
		t.Errorf("the root directory is %q, %v", root, err)
	}
	if up := c.Extensions.Sync.Registries; len(up) != 3 || !up[0].OnDemand || up[0].PreserveDigest || up[0].Content[0].Destination != "/docker.io" {
		t.Errorf("%+v", up)
	}
}

func TestConfigurationsThatCannotBeRead(t *testing.T) {
	for _, row := range []struct{ name, document, want string }{
		{"not JSON", "storage:\n  rootDirectory: /zot\n", "line 1: "},
		{"an error on a later line", "{\n\"storage\": {},\n?}", "line 3: "},
		{"a number as the root", `{"storage": {"rootDirectory": 5}}`, "storage.rootDirectory has the wrong type: number"},
		{"a string as a list", `{"extensions": {"sync": {"registries": [{"urls": "https://a"}]}}}`, "extensions.sync.registries.urls has the wrong type: string"},
		{"a list as an object", `[]`, "the whole file has the wrong type: array"},
		{"within a pattern", `{"http": {"accessControl": {"repositories": {"a/**": {"policies": [{"actions": [1]}]}}}}}`,
			`http.accessControl.repositories["a/**"].policies.actions has the wrong type: number`},
		{"a pattern without an object", `{"http": {"accessControl": {"repositories": {"a/**": true}}}}`,
			`http.accessControl.repositories["a/**"] has the wrong type: bool`},
		{"too large", `{"a": "` + strings.Repeat("a", 1<<20) + `"}`, "larger than 1048576 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "zot.json")
			must(t, os.WriteFile(name, []byte(row.document), 0o600))
			if _, err := zot.ReadConfig(name); err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	if _, err := zot.ReadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := zot.ReadConfig(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("none: %v", err)
	}
}

func TestTheRootDirectoryOfAConfiguration(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	for _, row := range []struct {
		name, storage string
		root, fails   string // of Root
		agrees        bool   // with dir
	}{
		{"the same", `"rootDirectory": "` + dir + `/"`, dir, "", true},
		{"a link to it", `"rootDirectory": "` + link + `"`, link, "", true},
		{"another", `"rootDirectory": "/elsewhere"`, "/elsewhere", "", false},
		{"a relative one", `"rootDirectory": "zot"`, "", "depends on the directory", true},
		{"none", ``, "", "has no storage.rootDirectory", true},
		{"a bucket", `"rootDirectory": "/zot", "storageDriver": {"name": "s3"}`, "", "registry import registry", false},
		{"fields in another case", `"ROOTDIRECTORY": "` + dir + `", "unknown": [1]`, dir, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "zot.json")
			must(t, os.WriteFile(name, []byte(`{"storage": {`+row.storage+`}, "unknown": 5}`), 0o600))
			c, err := zot.ReadConfig(name)
			must(t, err)
			root, err := c.Root()
			if root != row.root || row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)) {
				t.Errorf("root %q, %v", root, err)
			}
			if err := c.Agrees(dir); (err == nil) != row.agrees {
				t.Errorf("agrees: %v", err)
			}
		})
	}
}
