// Package builder has what the builds of the product share: the document for xcaddy and the
// flags.
package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/caddyserver/xcaddy"
	"golang.org/x/mod/modfile"
)

// Load reads xcaddy.json of a checkout, and makes its replacements by directories absolute.
func Load(root string) (*xcaddy.Builder, error) {
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
		// The go command uses the same rule to distinguish a directory from a module.
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

// Commit returns the commit of a checkout, with the suffix "+modified" if tracked files have
// changes. It is empty if git does not know it.
func Commit(ctx context.Context, root string) string {
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

// Flags returns the default flags of xcaddy, which it omits if it gets others, and the commit
// for `caddy-registry version`.
func Flags(commit string) string {
	if commit == "" {
		return ""
	}
	return "-trimpath -tags nobadger,nomysql,nopgx " +
		"-ldflags '-w -s -X github.com/eblume/caddy-registry/caddymodule/built.commit=" + commit + "'"
}
