package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// installProgram builds pkg, a package@version, as bin/name, unless bin/name was built from
// exactly that. The build has env in addition to this process's environment.
func installProgram(bin, name, pkg string, env ...string) error {
	target := filepath.Join(bin, name)
	importPath, version, _ := strings.Cut(pkg, "@")
	switch info, err := buildinfo.ReadFile(target); {
	case err == nil && info.Path == importPath && info.Main.Version == version:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(os.Stderr, "tools: building %s again: %v\n", name, err)
	}
	fmt.Println("building", pkg)
	cmd := exec.Command("go", "install", pkg)
	// GOWORK and GOFLAGS of the caller are about the caller's module.
	cmd.Env = append(append(os.Environ(), "GOBIN="+bin, "GOWORK=off", "GOFLAGS="), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	if built := filepath.Join(bin, path.Base(importPath)); built != target {
		return os.Rename(built, target)
	}
	return nil
}
