package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/clientlines"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/doctor/checks"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/sites"
	"github.com/eblume/caddy-registry/core/upstream"
)

func doctorCommand(where *location) *cobra.Command {
	var asJSON, forClients bool
	cmd := &cobra.Command{
		Use:   "doctor [--json] [--clients [<mirror or client>]]",
		Short: "Examines the registry and reports what is wrong",
		Long: `
Examines the storage and its disk, the keys and users, every site and mirror, the Redis
of the cache, the sign-in provider and trusted issuers. It contacts each with the
settings that the registry would use. Every finding is ok, warn, or fail, and a summary follows.
The exit status is 0 also with warnings, and 1 when something has failed.

With --clients nothing is examined: it prints the lines that make clients use the
mirrors, derived from the sites of the configuration; with a name, only those of that
mirror or of that client (` + strings.Join(clientlines.Clients, ", ") + `).

--json prints {"ok", "summary": {"ok", "warn", "fail"}, "findings": [{"check", "level",
"text"}]}, and with --clients {"clients": [{"mirror", "client", "file", "text", "note"}]}.`,
		Example: `  caddy-registry registry doctor
  caddy-registry registry doctor --clients
  caddy-registry registry doctor --clients containerd`,
		ValidArgsFunction: cobra.FixedCompletions(clientlines.Clients, cobra.ShellCompDirectiveNoFileComp),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&forClients, "clients", false, "print the lines that make clients use the mirrors")
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) > 0 && !forClients {
			return fmt.Errorf("doctor takes no argument, and with --clients one name, but there is %q", args)
		}
		if forClients && where.storage != "" {
			return errors.New("--clients reads the sites of a configuration; use --config instead of --storage")
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if forClients {
			return where.printClients(cmd, asJSON, args)
		}
		report, err := where.examine(commandContext(cmd))
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else {
			err = report.Print(cmd.OutOrStdout())
		}
		if err == nil && !report.OK {
			err = errors.New("the registry has failures")
		}
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		return nil
	}
	return cmd
}

// printClients prints the lines for clients, of one mirror or client if args name it.
func (l *location) printClients(cmd *cobra.Command, asJSON bool, args []string) error {
	app, found, err := l.appAndSites()
	if err != nil {
		return finish(cmd, statusFailed, err)
	}
	mirrors := slices.Sorted(maps.Keys(app.Mirrors))
	if len(args) > 0 && !slices.Contains(mirrors, args[0]) && !slices.Contains(clientlines.Clients, args[0]) {
		return misused(cmd, fmt.Errorf("%q is neither a mirror (%s) nor a client (%s)",
			args[0], strings.Join(mirrors, ", "), strings.Join(clientlines.Clients, ", ")))
	}
	printed := struct {
		Clients []clientlines.Lines `json:"clients"`
	}{[]clientlines.Lines{}}
	for _, name := range mirrors {
		for _, lines := range clientlines.For(name, found, sites.Named(app.URL), sites.MachineName(sites.Named(app.URL))) {
			if len(args) == 0 || args[0] == lines.Mirror || args[0] == lines.Client {
				printed.Clients = append(printed.Clients, lines)
			}
		}
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(printed)
	} else {
		for i, lines := range printed.Clients {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			if _, err = fmt.Fprintln(cmd.OutOrStdout(), lines); err != nil {
				break
			}
		}
	}
	if err != nil {
		return finish(cmd, statusFailed, err)
	}
	return nil
}

// examine examines the registry that the command line names.
func (l *location) examine(ctx context.Context) (doctor.Report, error) {
	app, found, err := l.appAndSites()
	if err != nil {
		return doctor.Report{}, err
	}
	r, err := l.find()
	if err != nil {
		missing := func(context.Context) (string, error) { return "", err }
		return doctor.Examine(ctx, []doctor.Check{{Name: "storage", Run: missing}}), nil
	}
	p := r.patient()
	if p.MinFree, err = app.LeaveFree(); err != nil {
		return doctor.Report{}, fmt.Errorf("min_free: %w", err)
	}
	named := sites.Named(app.URL)
	for _, site := range found {
		p.Sites = append(p.Sites, checks.Site{Site: site, Base: site.Base(sites.MachineName(named))})
	}
	for _, name := range slices.Sorted(maps.Keys(app.Mirrors)) {
		p.Mirrors = append(p.Mirrors, checks.Mirror{Name: name, Client: func() (*upstream.Client, error) {
			return app.Mirrors[name].Client(name)
		}})
	}
	if l.storage == "" { // --storage has no information about these
		p.More = append(p.More, doctor.Check{Name: "cache", Run: app.ExamineCache})
	}
	if app.OIDC != nil {
		p.More = append(p.More, doctor.Check{Name: "sign-in", Run: func(ctx context.Context) (string, error) {
			return app.OIDC.Examine(ctx, app.URL)
		}})
	}
	p.More = append(p.More, authenticators.IssuerChecks(app.AuthenticatorsRaw)...)
	return doctor.Examine(ctx, p.Checks()), nil
}

// patient is the registry's storage, as the doctor examines it.
func (r *registry) patient() *checks.Patient {
	return &checks.Patient{
		Storage: r.storage, Directory: r.local,
		Condition: func(ctx context.Context, mirrors []string) (control.Condition, error) {
			path := "/condition?" + url.Values{"mirror": mirrors}.Encode()
			return carryOut(ctx, r, path, func(t *running.Trees) (control.Condition, error) {
				return t.Condition(ctx, mirrors)
			})
		},
	}
}
