package importing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

// Order is what is to be imported. It travels as JSON.
type Order struct {
	// Zot is the root directory of a zot, as an absolute path.
	Zot    string `json:"zot"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Users are the names here of users there.
	Users map[string]string `json:"users,omitempty"`
	// Mirrors and Private are those of the configuration: they decide what is a
	// repository of this registry.
	Mirrors []string `json:"mirrors,omitempty"`
	Private []string `json:"private,omitempty"`
}

// Result is the last line of the answer.
type Result struct {
	Summary transfer.Summary `json:"summary"`
	DryRun  bool             `json:"dry_run,omitempty"`
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

// Run imports into a private store with its bucket, and writes the answer to w. The error
// is the Result's.
func (o Order) Run(ctx context.Context, target transfer.Target, notes bucket.Bucket, w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	summary, err := o.run(ctx, target, notes, func(item transfer.Item) {
		if err := encoder.Encode(item); err != nil {
			stop(fmt.Errorf("the command has gone: %w", err))
		}
	})
	result := Result{Summary: summary, DryRun: o.DryRun}
	if err != nil {
		result.Error = err.Error()
	}
	return errors.Join(err, encoder.Encode(struct {
		Result Result `json:"result"`
	}{result}))
}

func (o Order) run(ctx context.Context, target transfer.Target, notes bucket.Bucket, told func(transfer.Item)) (_ transfer.Summary, err error) {
	private, err := namespace.ParseGlobs(o.Private...)
	if err != nil {
		return transfer.Summary{}, fmt.Errorf("private: %w", err)
	}
	if !filepath.IsAbs(o.Zot) {
		return transfer.Summary{}, fmt.Errorf("%q is not an absolute path", o.Zot)
	}
	source, err := zot.Open(o.Zot)
	if err != nil {
		return transfer.Summary{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	site := &namespace.Site{Mirrors: o.Mirrors, Private: private}
	return transfer.Import(ctx, transfer.Config{
		Source: source, Target: target, Notes: notes, DryRun: o.DryRun, Told: told,
		Name: func(name string) (string, error) { return nameOf(site, name) },
		User: func(name string) string {
			if here, ok := o.Users[name]; ok {
				return here
			}
			return name
		},
	})
}
