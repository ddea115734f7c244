package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The same commit gives the same bytes, wherever it was checked out.
func TestBuildsAreTheSameEverywhere(t *testing.T) {
	if os.Getenv("REGISTRY_SLOW") == "" {
		t.Skip("builds the binary twice: make test-all")
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var built [][]byte
	for _, name := range []string{"one", "another-with-a-longer-name"} {
		t.Setenv("TMPDIR", t.TempDir()) // build leaves another one
		root := filepath.Join(t.TempDir(), name)
		clone := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "clone", "-q", checkout, root)
		if out, err := clone.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", clone, err, out)
		}
		output := filepath.Join(root, "binary")
		if err := build(t.Context(), root, output, "", ""); err != nil {
			t.Fatal(err)
		}
		binary, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(binary, []byte(root)) {
			t.Errorf("the binary has the path %s in it", root)
		}
		built = append(built, binary)
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("two builds of one commit differ: %d and %d bytes", len(built[0]), len(built[1]))
	}
}
