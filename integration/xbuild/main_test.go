package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoadMakesDirectoriesAbsolute(t *testing.T) {
	root := t.TempDir()
	for _, row := range []struct {
		name, replacement, want string
	}{
		{"the checkout itself", ".", root},
		{"a directory beside it", "../other", filepath.Join(filepath.Dir(root), "other")},
		{"a directory within", "./within", filepath.Join(root, "within")},
		{"an absolute directory", "/src/plugin", "/src/plugin"},
		{"another module", "example.com/fork@v1.0.0", "example.com/fork@v1.0.0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			document := `{"replacements": [{"old": "example.com/plugin", "new": "` + row.replacement + `"}]}`
			if err := os.WriteFile(filepath.Join(root, "xcaddy.json"), []byte(document), 0o644); err != nil {
				t.Fatal(err)
			}
			builder, err := load(root)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(builder.Replacements[0].New); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestLoadReadsTheProductsDocument(t *testing.T) {
	builder, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(builder.Plugins) == 0 || builder.CaddyVersion == "" {
		t.Errorf("got %+v, want a plugin and a Caddy version", builder)
	}
}
