package importing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/layout"
	"github.com/eblume/caddy-registry/core/transfer/remote"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

// Order is what is to be imported: from a zot, an image layout or a registry. It travels as
// JSON, and has the credentials for a registry in it.
type Order struct {
	// Zot is the root directory of a zot, as an absolute path.
	Zot string `json:"zot,omitempty"`
	// Layout is an OCI image layout.
	Layout *Layout `json:"oci_layout,omitempty"`
	// Registry is another registry.
	Registry *remote.Config `json:"registry,omitempty"`
	DryRun   bool           `json:"dry_run,omitempty"`
	// Copy copies the layers of a zot on the same file system, too, which otherwise share their
	// files with it.
	Copy bool `json:"copy,omitempty"`
	// Users are the names here of users there.
	Users map[string]string `json:"users,omitempty"`
	// Groups are those of the API keys, and the only rights that they get beside those of
	// every signed-in caller.
	Groups []string `json:"groups,omitempty"`
	// Mirrors and Private are those of the configuration: they decide what is a
	// repository of this registry.
	Mirrors []string `json:"mirrors,omitempty"`
	Private []string `json:"private,omitempty"`
}

// Layout is an OCI image layout, whose images go into one repository.
type Layout struct {
	Dir        string `json:"dir"` // an absolute path, also of an archive
	Repository string `json:"repository"`
}

// source is what an import reads from.
type source interface {
	transfer.Source
	Close() error
}

// open opens what is to be read. Errors also: an order of nothing, or of several things.
func (o Order) open() (source, error) {
	switch {
	case o.Zot != "" && o.Layout == nil && o.Registry == nil:
		if !filepath.IsAbs(o.Zot) {
			return nil, fmt.Errorf("%q is not an absolute path", o.Zot)
		}
		return zot.Open(o.Zot)
	case o.Zot == "" && o.Layout != nil && o.Registry == nil:
		if !filepath.IsAbs(o.Layout.Dir) {
			return nil, fmt.Errorf("%q is not an absolute path", o.Layout.Dir)
		}
		return layout.Open(o.Layout.Dir, o.Layout.Repository)
	case o.Zot == "" && o.Layout == nil && o.Registry != nil:
		return remote.Open(*o.Registry)
	}
	return nil, errors.New("an import has one source")
}

// From says what is read, for the log.
func (o Order) From() string {
	switch {
	case o.Layout != nil:
		return "oci-layout " + o.Layout.Dir
	case o.Registry != nil:
		return "registry " + o.Registry.Host
	}
	return "zot " + o.Zot
}

// Result is the last line of the answer.
type Result struct {
	Summary transfer.Summary `json:"summary"`
	Keys    []KeyItem        `json:"keys,omitempty"`
	DryRun  bool             `json:"dry_run,omitempty"`
	// Advice says what the configuration lacks that the zot's has; see Advise.
	Advice []string `json:"advice,omitempty"`
	// Error is why the import ended before everything was looked at; empty: it did not.
	Error string `json:"error,omitempty"`
}

// line is one line of the answer: an item, or the result.
type line struct {
	transfer.Item
	Result *Result `json:"result,omitempty"`
}

// Users reads pairs old=new of the command line. Errors: sentences.
func Users(pairs []string) (map[string]string, error) {
	users := map[string]string{}
	for _, pair := range pairs {
		from, to, ok := strings.Cut(pair, "=")
		if !ok || from == "" || to == "" {
			return nil, fmt.Errorf("invalid --user %q: write the name there and the name here, as in --user me@example.com=me", pair)
		}
		if _, twice := users[from]; twice {
			return nil, fmt.Errorf("duplicate --user %s", from)
		}
		users[from] = to
	}
	return users, nil
}

// KeysThatAre returns how many API keys had an outcome.
func (r Result) KeysThatAre(outcome transfer.Outcome) (n int) {
	for _, key := range r.Keys {
		if key.Outcome == outcome {
			n++
		}
	}
	return n
}

// Failed reports whether anything was left out, or not looked at.
func (r Result) Failed() bool {
	return r.Error != "" || r.Summary.LeftOut > 0 || r.KeysThatAre(transfer.LeftOut) > 0
}

// Place is where an import goes.
type Place struct {
	Target transfer.Target
	Notes  bucket.Bucket // below Target
	Keys   *identity.Keys
	Pulls  transfer.Pulls
	// Room returns core.ErrNoSpace unless pushes would have room for size bytes more.
	Room func(size int64) error
	// Mirror returns the mirror with a name, for what zot has cached of its upstream.
	Mirror func(name string) (*transfer.Mirror, error)
}

// Run imports, and writes the answer to w. The Result is true also if there is an error, which
// says why the import ended early or why w did not take the answer.
func (o Order) Run(ctx context.Context, place Place, w io.Writer) (Result, error) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	result := Result{DryRun: o.DryRun}
	err := o.run(ctx, place, &result, func(item transfer.Item) {
		if err := encoder.Encode(item); err != nil {
			stop(fmt.Errorf("the command does not read the answer: %w", err))
		}
	})
	if err != nil {
		result.Error = err.Error()
	}
	sent := encoder.Encode(struct {
		Result Result `json:"result"`
	}{result})
	if err == nil {
		err = sent
	}
	return result, err
}

func (o Order) run(ctx context.Context, place Place, result *Result, report func(transfer.Item)) (err error) {
	private, err := globs.Parse(o.Private...)
	if err != nil {
		return fmt.Errorf("private: %w", err)
	}
	source, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	site := &namespace.Site{Mirrors: o.Mirrors, Private: private}
	result.Summary, err = transfer.Import(ctx, transfer.Config{
		Source: source, Target: place.Target, Notes: place.Notes, Pulls: place.Pulls, Room: place.Room, DryRun: o.DryRun, Report: report,
		Link: o.Zot != "" && !o.Copy,
		Name: func(name string) (string, error) { return o.nameOf(site, name) },
		Mirror: func(name string) (*transfer.Mirror, error) {
			if owner, _ := site.Owner(name); owner != "" {
				return place.Mirror(owner)
			}
			return nil, nil
		},
		User: func(name string) string { return cmp.Or(o.Users[name], name) },
	})
	if errors.Is(err, core.ErrNoSpace) {
		return fmt.Errorf("%w; make room on the disk, or lower reserve under limits, and import again: it goes on where it stopped", err)
	} else if err != nil {
		return err
	}
	if o.Registry != nil && result.Summary.Found == 0 {
		return fmt.Errorf("%s has no images that this caller may see: check the patterns, give credentials, or name the repositories", o.Registry.Host)
	}
	if from, ok := source.(*zot.Directory); ok {
		result.Keys, err = o.keys(ctx, from, place.Keys)
	}
	return err
}
