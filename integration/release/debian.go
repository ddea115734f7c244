package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"text/template"
)

// scripts are the control files of the Debian package.
//
//go:embed debian
var scripts embed.FS

// debian writes the Debian package of a program.
func (s *source) debian(ctx context.Context, output string, p program) error {
	tree, err := os.MkdirTemp("", "deb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := os.Chmod(tree, 0o755); err != nil {
		return err
	}
	example := func(name string) string { return filepath.Join(s.root, "examples", "systemd", name) }
	bytesIn := int64(0)
	for _, one := range []file{
		{"usr/bin/caddy-registry", 0o755, p.path},
		{"etc/caddy-registry/Caddyfile", 0o644, filepath.Join(s.root, "Caddyfile")},
		{"lib/systemd/system/caddy-registry.service", 0o644, example("caddy-registry.service")},
		{"usr/lib/sysusers.d/caddy-registry.conf", 0o644, example("caddy-registry.sysusers")},
		{"usr/share/doc/caddy-registry/copyright", 0o644, filepath.Join(s.root, "LICENSE")},
		{"usr/share/doc/caddy-registry/README.md", 0o644, filepath.Join(s.root, "README.md")},
		{"usr/share/doc/caddy-registry/CHANGELOG.md", 0o644, filepath.Join(s.root, "CHANGELOG.md")},
	} {
		content, err := os.ReadFile(one.from)
		if err != nil {
			return err
		}
		bytesIn += int64(len(content))
		if err := write(filepath.Join(tree, filepath.FromSlash(one.name)), content, os.FileMode(one.mode)); err != nil {
			return err
		}
	}
	control := struct {
		Version, Arch string
		Kilobytes     int64
	}{debianVersion(s.version), p.arch(), (bytesIn + 1023) >> 10}
	entries, err := scripts.ReadDir("debian")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := scripts.ReadFile(path.Join("debian", entry.Name()))
		if err != nil {
			return err
		}
		filled, err := template.New(entry.Name()).Parse(string(text))
		if err != nil {
			return err
		}
		var content bytes.Buffer
		if err := filled.Execute(&content, control); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix(text, []byte("#!")) {
			mode = 0o755
		}
		if err := write(filepath.Join(tree, "DEBIAN", entry.Name()), content.Bytes(), mode); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--build", "--root-owner-group", "-Zgzip", tree, filepath.Join(output, s.name(p.arch()+".deb")))
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", s.when.Unix()))
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// write makes a file and the directories above it, for any umask.
func write(name string, content []byte, mode os.FileMode) error {
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		defer os.Chmod(dir, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, content, mode); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// debianVersion is a version as dpkg compares it: prereleases are less than their release.
func debianVersion(version string) string {
	return strings.Replace(strings.TrimPrefix(version, "v"), "-", "~", 1)
}
