package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// providerDir has the OpenID Connect provider that people sign in with in the tests, and axe-core.
const providerDir = "signin/provider"

// installNode installs the packages of dir's package-lock.json, including Node.js itself,
// unless exactly these are installed. npm comes from Debian if the machine has none.
func installNode(dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%x\n", sha256.Sum256(lock))
	stamp := filepath.Join(dir, "node_modules", ".complete")
	switch have, err := os.ReadFile(stamp); {
	case err == nil && string(have) == want:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := exec.LookPath("npm"); err != nil {
		if err := installPackages([]string{"nodejs", "npm"}); err != nil {
			return err
		}
	}
	fmt.Println("installing", dir)
	cmd := exec.Command("npm", "ci")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("npm ci in %s: %w", dir, err)
	}
	node := exec.Command(filepath.Join("node_modules", ".bin", "node"), "--version")
	node.Dir = dir
	if out, err := node.CombinedOutput(); err != nil {
		return fmt.Errorf("the Node.js of %s does not run: %w: %s", dir, err, out)
	}
	return os.WriteFile(stamp, []byte(want), 0o644)
}
