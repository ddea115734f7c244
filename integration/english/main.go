// Command english finds wording in Go files that does not belong to plain English:
// the phrases of rules in comments and string literals, and comments that begin with
// a headless "Who", "Whoever", "What" or "Whatever". It prints file:line and what to
// write instead, and fails if it found any. `make check` runs it over both modules:
//
//	go run ./english ..
//
// It reads what git would: it skips testdata, hidden directories, and names that
// begin with an underscore. A new rule goes into rules, with a row in both files of
// testdata.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: english DIRECTORY")
		os.Exit(2)
	}
	findings, err := examine(os.DirFS(os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "english:", err)
		os.Exit(1)
	}
	for _, f := range findings {
		f.file = filepath.Join(os.Args[1], f.file)
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// examine returns the findings in all Go files below tree. It fails if there are
// none to read, so that a wrong directory does not pass.
func examine(tree fs.FS) (findings []finding, err error) {
	files := 0
	err = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != "." && ignored(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || ignored(entry.Name()) {
			return nil
		}
		source, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		found, err := check(path, source)
		findings = append(findings, found...)
		files++
		return err
	})
	if err == nil && files == 0 {
		err = errors.New("no Go files")
	}
	return findings, err
}

// ignored reports whether the go command ignores the name, too.
func ignored(name string) bool {
	return name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}
