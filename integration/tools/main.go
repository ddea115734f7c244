// Command tools installs the clients and servers of the tests: Debian packages, Go programs at
// the versions that the lists beside it name, and by npm an OpenID Connect provider and axe-core.
// Run it in the integration directory. It does nothing when everything is already installed:
//
//	go run ./tools [-slow] [-only NAME] [-bin DIR]
//
// It starts no service and leaves none behind. On a system without apt-get it says
// which packages the machine lacks; with CI=true that is a failure, because a test that is
// skipped for lack of a tool looks green.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var (
	//go:embed apt.txt
	aptList string
	//go:embed go.txt
	goList string
	//go:embed slow.txt
	slowList string
)

func main() {
	slow := flag.Bool("slow", false, "also the programs whose builds are slow")
	only := flag.String("only", "", "nothing but the Go program of this name")
	bin := flag.String("bin", "../bin/tools", "directory of the Go programs")
	flag.Parse()
	if err := install(*bin, *only, *slow); err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

// install installs the programs of the lists.
func install(bin, only string, slow bool) error {
	if only == "" {
		if err := installPackages(entries(aptList)); err != nil {
			if os.Getenv("CI") == "true" {
				return err
			}
			fmt.Fprintln(os.Stderr, "tools: tests will be skipped:", err)
		}
	}
	if only == "" {
		if err := installNode(providerDir); err != nil {
			if os.Getenv("CI") == "true" {
				return err
			}
			fmt.Fprintln(os.Stderr, "tools: tests will be skipped:", err)
		}
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	programs := entries(goList)
	if slow {
		programs = append(programs, entries(slowList)...)
	}
	for _, line := range programs {
		words := strings.Fields(line)
		if len(words) < 2 {
			return fmt.Errorf("line %q is not a name and a package", line)
		}
		name, pkg := words[0], words[1]
		if only != "" && name != only {
			continue
		}
		if err := installProgram(bin, name, pkg, words[2:]...); err != nil {
			return fmt.Errorf("install %s: %w", pkg, err)
		}
	}
	return nil
}

// entries are a list's lines without comments.
func entries(list string) []string {
	var lines []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
