package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"

	"github.com/eblume/caddy-registry/integration/builder"
)

const (
	product    = "caddy-registry"
	modulePath = "github.com/eblume/caddy-registry"
)

// source is the commit that a release is made of.
type source struct {
	root    string
	commit  string // 40 hexadecimal digits
	when    time.Time
	version string // as v1.2.3; without a tag a pseudo-version
}

// program is a built one.
type program struct{ target, path string }

func (p program) os() string   { system, _, _ := strings.Cut(p.target, "/"); return system }
func (p program) arch() string { _, arch, _ := strings.Cut(p.target, "/"); return arch }

// describe returns the commit that is checked out. Errors: also if tracked files have changes,
// because a release is a commit.
func describe(ctx context.Context, root string) (*source, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &source{root: root, commit: builder.Commit(ctx, root)}
	if s.commit == "" {
		return nil, fmt.Errorf("%s is not a checkout of git", root)
	}
	if strings.HasSuffix(s.commit, "+modified") {
		return nil, fmt.Errorf("%s has changes that are not committed; commit them first", root)
	}
	seconds, err := git(ctx, root, "log", "-1", "--format=%ct", s.commit)
	if err != nil {
		return nil, err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the time of the commit: %w", err)
	}
	s.when = time.Unix(unix, 0).UTC()
	s.version = module.PseudoVersion("v0", "", s.when, s.commit[:12])
	tags, err := git(ctx, root, "tag", "--points-at", s.commit)
	if err != nil {
		return nil, err
	}
	for _, tag := range strings.Fields(tags) {
		if semver.IsValid(tag) && semver.Canonical(tag) == tag {
			s.version = tag
		}
	}
	return s, nil
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", root}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// export writes the files of the commit into dir, and makes that the root: other files of the
// checkout cannot get into a release.
func (s *source) export(ctx context.Context, dir string) error {
	archive, err := exec.CommandContext(ctx, "git", "-C", s.root, "archive", "--format=tar", s.commit).Output()
	if err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	into, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer into.Close()
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			s.root = dir
			return nil
		case err != nil:
			return err
		case header.Typeflag == tar.TypeDir:
			err = into.MkdirAll(strings.TrimSuffix(header.Name, "/"), 0o755)
		case header.Typeflag == tar.TypeReg:
			err = extract(into, header.Name, files)
		}
		if err != nil {
			return err
		}
	}
}

// extract writes one file.
func extract(into *os.Root, name string, content io.Reader) error {
	f, err := into.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	return f.Close()
}

// name is that of a file of the release.
func (s *source) name(rest string) string {
	return product + "_" + strings.TrimPrefix(s.version, "v") + "_" + rest
}

// publish writes the commit as a version of the module into dir, which is laid out as a module
// proxy, and returns its URL.
func (s *source) publish(dir string) (string, error) {
	at := filepath.Join(dir, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	info, err := json.Marshal(map[string]any{"Version": s.version, "Time": s.when})
	if err != nil {
		return "", err
	}
	gomod, err := os.ReadFile(filepath.Join(s.root, "go.mod"))
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{
		"list": []byte(s.version + "\n"), s.version + ".info": info, s.version + ".mod": gomod,
	} {
		if err := os.WriteFile(filepath.Join(at, name), content, 0o644); err != nil {
			return "", err
		}
	}
	f, err := os.Create(filepath.Join(at, s.version+".zip"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := zip.CreateFromDir(f, module.Version{Path: modulePath, Version: s.version}, s.root); err != nil {
		return "", err
	}
	return "file://" + filepath.ToSlash(dir), f.Close()
}

// build builds a program with xcaddy, as users would from a module proxy.
func (s *source) build(ctx context.Context, p program) error {
	b, err := builder.Load(s.root)
	if err != nil {
		return err
	}
	b.OS, b.Arch, b.Replacements = p.os(), p.arch(), nil
	for i := range b.Plugins {
		if b.Plugins[i].PackagePath == modulePath {
			b.Plugins[i].Version = s.version
		}
	}
	b.BuildFlags = builder.Flags(s.commit)
	return b.Build(ctx, p.path)
}

// believe makes the go commands of this process find the commit in a module proxy.
func believe(ctx context.Context, proxy string) error {
	said, err := exec.CommandContext(ctx, "go", "env", "GOPROXY", "GONOSUMDB").Output()
	if err != nil {
		return err
	}
	proxies, unsummed, _ := strings.Cut(string(said), "\n")
	return errors.Join(
		os.Setenv("GOPROXY", proxy+","+proxies),
		// The version is nowhere else yet.
		os.Setenv("GONOSUMDB", strings.Trim(strings.TrimSpace(unsummed)+","+modulePath, ",")),
		os.Setenv("GOFLAGS", ""),
	)
}

// listModules writes which modules are in a program, as lister says, which is cyclonedx-gomod.
func (s *source) listModules(ctx context.Context, lister, output string, p program) error {
	lister, err := filepath.Abs(lister)
	if err != nil {
		return err
	}
	to := filepath.Join(output, s.name(p.os()+"_"+p.arch()+".cdx.json"))
	cmd := exec.CommandContext(ctx, lister, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", s.version, "-output", to, p.path)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
