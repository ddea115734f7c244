// Command bench measures the built server beside its peers, in one run and on one
// machine, and prints Markdown tables. `make bench` builds what it needs and calls
// it in the integration directory:
//
//	go run ./bench [-quick] [-only GROUP] [-rounds N] [-dir DIR]
//
// The peers are distribution's registry, stock Caddy (`respond` and `file_server`,
// which the product's own binary contains) and nginx. Every server runs on loopback, with its
// own directory, and each answer is verified before it is timed. Contenders take turns (A B A
// B), and the tables have the medians.
//
// A load generator shares the machine's cores with the server that it loads, so the
// server's CPU time per request, which the kernel counts, says more than its
// requests per second. No run passes or fails because of its speed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench is one run. Its methods are for one goroutine.
type bench struct {
	ctx    context.Context
	out    io.Writer
	dir    string // everything that the run writes
	rounds int    // turns of each contender
	size   sizes

	product, distribution, nginx, wrk string // programs; distribution may be empty

	running []*process
}

// sizes is the amount of work in one turn.
type sizes struct {
	seconds   int   // of requests for small answers
	manyTags  int   // in the repository that has many
	blob      int64 // bytes
	downloads int   // of a blob by each connection
	images    int   // pushed by one client
	together  int   // pushed by all clients, if there are many
	large     int64 // bytes of the blob that must not fit in memory
	pageTags  int   // in the larger repository of the lists
	repos     int   // in the storage that is started, with tenTags each
	pulled    int   // bytes of a layer that is pulled through
	far       int64 // bytes of a layer that is read in part
	// ttl is how long a mirror trusts a tag: many pulls take less.
	ttl time.Duration
}

var (
	full  = sizes{3, 10_000, 100 << 20, 4, 60, 320, 10 << 30, 100_000, 10_000, 60 << 20, 1 << 30, 5 * time.Second}
	quick = sizes{1, 200, 1 << 20, 2, 3, 16, 8 << 20, 1_500, 50, 384 << 10, 32 << 20, time.Second}
)

// group is a part that can be run alone.
type group struct {
	name string
	run  func(*bench) error
}

var groups = []group{
	{"manifests", (*bench).manifests},
	{"identity", (*bench).identity},
	{"blobs", (*bench).blobs},
	{"verify", (*bench).verify},
	{"images", (*bench).images},
	{"monolithic", (*bench).monolithic},
	{"large", (*bench).large},
	{"tags", (*bench).tagPages},
	{"start", (*bench).starts},
	{"mirror/few", (*bench).mirrorFew},
	{"mirror/many", (*bench).mirrorMany},
	{"mirror/memory", (*bench).mirrorMemory},
	{"mirror/warm", (*bench).mirrorWarm},
	{"mirror/far", (*bench).mirrorFar},
	{"mirror/tags", (*bench).mirrorTags},
}

func main() {
	small := flag.Bool("quick", false, "little work and one turn each: does it run, and do the counts hold?")
	only := flag.String("only", "", "nothing but this group, or those that begin with it and a slash")
	rounds := flag.Int("rounds", 3, "turns of each contender")
	dir := flag.String("dir", "", "directory for everything that is written, on the disk to measure (default: a temporary one)")
	bin := flag.String("bin", "../bin", "directory of the built server, and of tools/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b := &bench{ctx: ctx, out: os.Stdout, rounds: *rounds, size: full}
	if *small {
		b.rounds, b.size = 1, quick
	}
	err := b.all(*bin, *dir, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// all runs the groups, or the one of the name only.
func (b *bench) all(bin, dir, only string) (err error) {
	if err := b.programs(bin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(dir, "registry-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.machine(); err != nil {
		return err
	}
	found := false
	for _, g := range groups {
		if only != "" && only != g.name && !strings.HasPrefix(g.name, only+"/") {
			continue
		}
		found = true
		err := g.run(b)
		if err := errors.Join(err, b.stopAll()); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	if !found {
		return fmt.Errorf("there is no group %q", only)
	}
	return nil
}

// programs finds the servers. Only a quick run omits distribution, whose build is slow.
func (b *bench) programs(bin string) (err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	b.product = filepath.Join(bin, "caddy-registry")
	if _, err := os.Stat(b.product); err != nil {
		return fmt.Errorf("%w: run `make build`", err)
	}
	b.distribution = filepath.Join(bin, "tools", "registry")
	if _, err := os.Stat(b.distribution); err != nil {
		if b.size != quick {
			return fmt.Errorf("%w: run `go run ./tools -slow` in integration", err)
		}
		b.distribution = ""
	}
	for name, path := range map[string]*string{"nginx": &b.nginx, "wrk": &b.wrk} {
		if *path, err = exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: run `go run ./tools` in integration", err)
		}
	}
	return nil
}

// folder makes a directory of the run's own.
func (b *bench) folder(name string) (string, error) {
	return os.MkdirTemp(b.dir, name+"-")
}
