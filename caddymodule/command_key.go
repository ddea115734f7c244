package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// keyCommand is `registry key`.
func keyCommand(where *location) *cobra.Command {
	cmd := parentCommand("key", "Makes, lists and revokes API keys")
	cmd.AddCommand(keyCreateCommand(where), keyListCommand(where), keyRevokeCommand(where))
	return cmd
}

// parentCommand does nothing without a subcommand.
func parentCommand(name, short string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, fmt.Errorf("which command? see %s --help", cmd.CommandPath()))
		}
		return misused(cmd, fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath()))
	}
	return cmd
}

func keyCreateCommand(where *location) *cobra.Command {
	var want identity.NewKey
	var expires string
	cmd := &cobra.Command{
		Use:   "create --user <name> [--group <name>...] [--name <label>] [--expires 90d] [--action <action>...] [--on <glob>...]",
		Short: "Makes an API key for a service account, and prints it",
		Long: `
Makes an API key for a service account with groups of its own. The key alone is
printed on the standard output. It is not kept, and cannot be shown again.`,
		Args: cobra.ArbitraryArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&want.User, "user", "", "the service account")
	flags.StringArrayVar(&want.Groups, "group", nil, "a group of it; may be repeated")
	flags.StringVar(&want.Name, "name", "", "what the key is called (default: the day)")
	flags.StringVar(&expires, "expires", "", "how long it lasts (default: as long as it may)")
	flags.StringArrayVar(&want.Actions, "action", nil, "what it may be used for at most; may be repeated")
	flags.StringArrayVar(&want.Globs, "on", nil, "the repositories that it may be used in at most; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return misused(cmd, fmt.Errorf("key create takes no argument, but there is %q", args[0]))
		case want.User == "":
			return misused(cmd, errors.New("whose key? say --user"))
		}
		if err := where.check(); err != nil {
			return misused(cmd, err)
		}
		if expires != "" {
			lifetime, err := caddy.ParseDuration(expires)
			if err != nil || lifetime <= 0 {
				return misused(cmd, fmt.Errorf("--expires %s is not a time like 90d", expires))
			}
			want.Lifetime = lifetime
		}
		want.Service = true
		report, err := where.order(cmd.Context(), control.IdentityOrder{CreateKey: &want})
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		key := report.Keys[0]
		defer func() {
			for _, warning := range report.Misspelt {
				warn(cmd, warning)
			}
		}()
		fmt.Fprintf(cmd.ErrOrStderr(), "key %s of %s, until %s\n", key.ID, key.User, key.Expires.Format(time.DateOnly))
		fmt.Fprintln(cmd.OutOrStdout(), report.Secret)
		return nil
	}
	return cmd
}

func keyListCommand(where *location) *cobra.Command {
	var user string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list [--user <name>] [--json]", Short: "Lists API keys", Args: cobra.ArbitraryArgs,
	}
	cmd.Flags().StringVar(&user, "user", "", "only that user's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report, err := where.orderedBy(cmd, args, 0, control.IdentityOrder{ListKeys: &user})
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(orEmpty(report.Keys))
		}
		printKeys(cmd.OutOrStdout(), report.Keys, time.Now())
		return nil
	}
	return cmd
}

func keyRevokeCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke [--yes] <id>", Short: "Revokes an API key, at once and for good", Args: cobra.ArbitraryArgs,
		Long: `
Revokes an API key. Whatever uses it, or a token that was made with it, is refused
from the next request on; a key cannot be used again.` + asksFirst,
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && asksOnTerminal(cmd, *yes) {
			report, err := where.orderedBy(cmd, args, 1, control.IdentityOrder{ListKeys: new(string)})
			if err != nil {
				return err
			}
			report.Keys = slices.DeleteFunc(report.Keys, func(key identity.Key) bool { return key.ID != args[0] })
			if len(report.Keys) > 0 { // or there is nothing to ask about
				printKeys(cmd.ErrOrStderr(), report.Keys, time.Now())
				if err := ask(cmd, "Revoke this key? Whatever uses it is refused at once."); err != nil {
					return err
				}
			}
		}
		report, err := where.orderedBy(cmd, args, 1, control.IdentityOrder{RevokeKey: firstOf(args)})
		if err != nil {
			return err
		}
		key := report.Keys[0]
		fmt.Fprintf(cmd.OutOrStdout(), "revoked key %s (%s) of %s\n", key.ID, key.Name, key.User)
		return nil
	}
	return cmd
}

// orderedBy carries out the order of a command line that has so many arguments. Its
// error has ended the command.
func (l *location) orderedBy(cmd *cobra.Command, args []string, arguments int, order control.IdentityOrder) (control.IdentityReport, error) {
	if len(args) != arguments || arguments > 0 && args[0] == "" {
		return control.IdentityReport{}, misused(cmd, fmt.Errorf("usage: %s", cmd.UseLine()))
	}
	if err := l.check(); err != nil {
		return control.IdentityReport{}, misused(cmd, err)
	}
	report, err := l.order(cmd.Context(), order)
	if err != nil {
		return report, finish(cmd, statusFailed, err)
	}
	return report, nil
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// orEmpty makes JSON say [] instead of null.
func orEmpty[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}

func printKeys(w io.Writer, keys []identity.Key, now time.Time) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tNAME\tGROUPS\tSTATE\tLAST USED")
	for _, key := range keys {
		state := "until " + key.Expires.Format(time.DateOnly)
		switch {
		case !key.Revoked.IsZero():
			state = "revoked " + key.Revoked.Format(time.DateOnly)
		case !key.Active(now):
			state = "expired " + key.Expires.Format(time.DateOnly)
		}
		groups, used := strings.Join(key.Groups, ","), "never"
		if !key.Service {
			groups = "(the user's)"
		}
		if !key.Used.IsZero() {
			used = key.Used.Format(time.DateOnly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", key.ID, key.User, key.Name, groups, state, used)
	}
	table.Flush()
}
