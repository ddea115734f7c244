package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/core/upstream"
)

func doctorCommand(where *location) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--config <path>] [--adapter <name>] [--storage <dir>] [--json]",
		Short: "Looks at the registry, and says what is wrong",
		Long: `
Looks at the storage and at its disk, says who has asked each mirror in the last 30
days, reaches every upstream, the Redis of the cache, the sign-in provider and trusted issuers, each
with what the registry would use, and prints the lines that make clients use the mirrors.
The exit status is 1 when something is wrong.`,
		Args: cobra.ArbitraryArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return misused(cmd, fmt.Errorf("doctor takes no argument, but there is %q", args[0]))
		}
		if err := where.check(); err != nil {
			return misused(cmd, err)
		}
		report, err := where.examine(commandContext(cmd))
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else {
			report.print(cmd.OutOrStdout())
		}
		if err == nil && !report.OK {
			err = errors.New("something is wrong")
		}
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		return nil
	}
	return cmd
}

// print says it to a person.
func (r doctorReport) print(w io.Writer) {
	for _, f := range r.Findings {
		mark := "ok    "
		if !f.OK {
			mark = "WRONG "
		}
		fmt.Fprintf(w, "%s %s: %s\n", mark, f.Check, f.Text)
	}
	for _, lines := range r.Clients {
		fmt.Fprintf(w, "\n%s\n", lines)
	}
}

// examine looks at the registry that the command line names.
func (l *location) examine(ctx context.Context) (doctorReport, error) {
	app, err := l.app()
	if err != nil {
		return doctorReport{}, err
	}
	r, err := l.find()
	if err != nil {
		return examine(ctx, []check{{"storage", func(context.Context) (string, error) { return "", err }}}), nil
	}
	p := &patient{registry: r}
	if p.minFree, err = app.leaveFree(); err != nil {
		return doctorReport{}, fmt.Errorf("min_free: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(app.Mirrors)) {
		p.mirrors = append(p.mirrors, mirrorPatient{name, func() (*upstream.Client, error) {
			config := app.Mirrors[name].upstream(name)
			if err := app.Mirrors[name].readSecrets(&config); err != nil {
				return nil, err
			}
			return upstream.New(config)
		}})
	}
	if l.storage == "" { // a storage alone says nothing of these
		p.more = append(p.more, check{"cache", app.lookAtCache})
	}
	if app.OIDC != nil {
		p.more = append(p.more, check{"sign-in", app.lookAtSignIn})
	}
	p.more = append(p.more, app.trustedIssuers()...)
	report := examine(ctx, p.checks())
	for _, m := range p.mirrors {
		report.Clients = append(report.Clients, linesFor(app.base(), m.name)...)
	}
	return report, nil
}

// base is where clients reach the registry, as far as the configuration tells.
func (a *App) base() *url.URL {
	if base, err := url.Parse(a.URL); err == nil && base.Host != "" {
		return &url.URL{Scheme: base.Scheme, Host: base.Host}
	}
	return &url.URL{Scheme: "http", Host: "localhost:5050"}
}

// serveCondition says how the open storage is.
func (s *shared) serveCondition(w http.ResponseWriter, r *http.Request) {
	trees, err := s.acquire(r.Context())
	if err != nil {
		answerCommand(w, nil, err)
		return
	}
	defer s.release()
	c, err := trees.condition(r.Context(), trees.keeping.usage, r.URL.Query()["mirror"])
	c.Process, c.Held = os.Getpid(), s.held()
	answerCommand(w, c, err)
}
