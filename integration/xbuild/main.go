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
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"

	"github.com/caddyserver/xcaddy"

	"github.com/eblume/caddy-registry/integration/builder"
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
	b, err := builder.Load(root)
	if err != nil {
		return err
	}
	if goos != "" {
		b.OS = goos
	}
	if arch != "" {
		b.Arch = arch
	}
	if b.BuildFlags == "" {
		b.BuildFlags = builder.Flags(builder.Commit(ctx, root))
	}
	done, err := hidePaths(b)
	if err != nil {
		return err
	}
	defer done()
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	return b.Build(ctx, output)
}

// hidePaths gives directories that replace modules another name for the build: the binary
// records it (`go version -m`), and is the same for every location of the checkout. xcaddy
// builds in its own directory below TMPDIR, and the name is that of a symbolic link beside it.
// done removes the links.
func hidePaths(b *xcaddy.Builder) (done func(), err error) {
	temporary, err := os.MkdirTemp("", "xbuild")
	if err != nil {
		return nil, err
	}
	done = func() { os.RemoveAll(temporary) }
	for i, r := range b.Replacements {
		if !filepath.IsAbs(string(r.New)) {
			continue // another module
		}
		name := path.Base(string(r.Old))
		if err := os.Symlink(string(r.New), filepath.Join(temporary, name)); err != nil {
			done()
			return nil, err
		}
		b.Replacements[i].New = xcaddy.ReplacementPath("../" + name)
	}
	return done, os.Setenv("TMPDIR", temporary)
}
