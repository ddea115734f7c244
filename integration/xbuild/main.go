// Command xbuild builds the product as its users do: by xcaddy, from the document
// xcaddy.json at the root of the checkout. It is run in the integration directory:
//
//	go run ./xbuild [-o FILE] [-os GOOS] [-arch GOARCH]
//
// It exists because xcaddy's own command reads no document, and its library leaves
// a relative replacement relative to a temporary directory. That no path of the checkout
// gets into the binary is done here, too.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"

	"github.com/caddyserver/xcaddy"
	"golang.org/x/mod/modfile"
)

func main() {
	root := flag.String("root", "..", "the checkout, with xcaddy.json")
	output := flag.String("o", "../bin/caddy-registry", "the binary to write")
	// Flags and not the environment: GOOS would also apply to `go run` itself.
	goos := flag.String("os", "", "target operating system (default: this one)")
	arch := flag.String("arch", "", "target architecture (default: this one)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := build(ctx, *root, *output, *goos, *arch); err != nil {
		fmt.Fprintln(os.Stderr, "xbuild:", err)
		stop()
		os.Exit(1)
	}
}

// build writes the binary that root's xcaddy.json describes.
func build(ctx context.Context, root, output, goos, arch string) error {
	builder, err := load(root)
	if err != nil {
		return err
	}
	if goos != "" {
		builder.OS = goos
	}
	if arch != "" {
		builder.Arch = arch
	}
	if builder.BuildFlags == "" {
		builder.BuildFlags = flagsFor(commit(ctx, root))
	}
	done, err := hidePaths(builder)
	if err != nil {
		return err
	}
	defer done()
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	return builder.Build(ctx, output)
}

// load reads the document and makes its replacements by directories absolute.
func load(root string) (*xcaddy.Builder, error) {
	document := filepath.Join(root, "xcaddy.json")
	data, err := os.ReadFile(document)
	if err != nil {
		return nil, err
	}
	builder := new(xcaddy.Builder)
	if err := json.Unmarshal(data, builder); err != nil {
		return nil, fmt.Errorf("read %s: %w", document, err)
	}
	for i, r := range builder.Replacements {
		// The go command's own rule tells a directory from a module.
		if !modfile.IsDirectoryPath(string(r.New)) {
			continue
		}
		dir := filepath.FromSlash(string(r.New))
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(root, dir)
		}
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		builder.Replacements[i].New = xcaddy.ReplacementPath(absolute)
	}
	return builder, nil
}

// hidePaths gives directories that replace modules another name for the build: the binary
// records it (`go version -m`), and is the same wherever the checkout is. xcaddy builds in
// a directory of its own below TMPDIR, and the name is that of a symbolic link beside it.
// done removes what was made.
func hidePaths(builder *xcaddy.Builder) (done func(), err error) {
	temporary, err := os.MkdirTemp("", "xbuild")
	if err != nil {
		return nil, err
	}
	done = func() { os.RemoveAll(temporary) }
	for i, r := range builder.Replacements {
		if !filepath.IsAbs(string(r.New)) {
			continue // another module
		}
		name := path.Base(string(r.Old))
		if err := os.Symlink(string(r.New), filepath.Join(temporary, name)); err != nil {
			done()
			return nil, err
		}
		builder.Replacements[i].New = xcaddy.ReplacementPath("../" + name)
	}
	return done, os.Setenv("TMPDIR", temporary)
}

// commit is that of the checkout, with "+modified" behind it if tracked files have changes;
// empty: git does not know.
func commit(ctx context.Context, root string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	hash, err := git("rev-parse", "HEAD")
	if err != nil {
		return ""
	}
	changes, err := git("status", "--porcelain", "--untracked-files=no")
	if err != nil || changes != "" {
		return hash + "+modified"
	}
	return hash
}

// flagsFor are the flags that xcaddy uses by itself, which it leaves out if it is given
// others, and the commit for `caddy-registry version`.
func flagsFor(commit string) string {
	if commit == "" {
		return ""
	}
	return "-trimpath -tags nobadger,nomysql,nopgx " +
		"-ldflags '-w -s -X github.com/eblume/caddy-registry/caddymodule/built.commit=" + commit + "'"
}
