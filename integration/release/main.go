// Command release builds the files of a release from the commit that is checked out. Run it in
// the integration directory:
//
//	go run ./release [-o DIR] [-targets OS/ARCH,…] [-modules PROGRAM]
//
// It writes, for each target:
//
//	caddy-registry_VERSION_OS_ARCH.tar.gz   the program, its Caddyfile, and what starts it
//	caddy-registry_VERSION_OS_ARCH.cdx.json the modules in the program (CycloneDX)
//	caddy-registry_VERSION_ARCH.deb         for Linux
//
// and for all of them caddy-registry_VERSION_image.tar (an OCI layout with the platforms of
// Linux), NOTES.md (the entry of the changelog), provenance.json and SHA256SUMS.
//
// The same commit gives the same bytes, on every machine that has the same version of Go: the
// program is built from a module of the commit and not from a directory, and every time is the
// commit's. A commit without a tag gets the version that the go command would give it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// allTargets are the platforms of a release.
const allTargets = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64"

func main() {
	root := flag.String("root", "..", "the checkout")
	output := flag.String("o", "../dist", "directory for the files, which must be empty or missing")
	targets := flag.String("targets", allTargets, "platforms, separated by commas")
	lister := flag.String("modules", "../bin/tools/cyclonedx-gomod", "the program that lists the modules of each program; empty: they are not listed")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := release(ctx, *root, *output, strings.Split(*targets, ","), *lister); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

// release writes the files of a release into output. lister is the program that lists modules, or empty.
func release(ctx context.Context, root, output string, targets []string, lister string) error {
	source, err := describe(ctx, root)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(output); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", output)
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := source.export(ctx, filepath.Join(work, "source")); err != nil {
		return err
	}
	proxy, err := source.publish(filepath.Join(work, "proxy"))
	if err != nil {
		return err
	}
	if err := believe(ctx, proxy); err != nil {
		return err
	}
	var programs []program
	for _, target := range targets {
		p := program{target: target, path: filepath.Join(work, strings.ReplaceAll(target, "/", "-"), product)}
		fmt.Println("building", product, source.version, target)
		if err := source.build(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		programs = append(programs, p)
		if err := source.archive(output, p); err != nil {
			return fmt.Errorf("archive of %s: %w", target, err)
		}
		if p.os() == "linux" {
			if err := source.debian(ctx, output, p); err != nil {
				return fmt.Errorf("package of %s: %w", target, err)
			}
		}
		if lister != "" {
			if err := source.listModules(ctx, lister, output, p); err != nil {
				return fmt.Errorf("modules of %s: %w", target, err)
			}
		}
	}
	if slices.ContainsFunc(programs, func(p program) bool { return p.os() == "linux" }) {
		if err := source.image(filepath.Join(output, source.name("image.tar")), programs); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	if err := source.notes(output); err != nil {
		return err
	}
	return source.sum(output)
}
