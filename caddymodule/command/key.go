package command

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
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Makes, lists and revokes API keys",
		Long: `
Makes, lists and revokes API keys. A key is the password of docker login and of every
other client, with any user name.`,
		Example: `  caddy-registry registry key create --user zot-ci --group artifact-workloads
  caddy-registry registry key list`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(keyCreateCommand(where), keyListCommand(where), keyRevokeCommand(where))
	return cmd
}

func keyCreateCommand(where *location) *cobra.Command {
	var want identity.NewKey
	var expires string
	cmd := &cobra.Command{
		Use: "create --user <name> [--group <name>...] [--name <label>] [--expires 90d] " +
			"[--action <action>...] [--on <glob>...]",
		Short: "Makes an API key for a service account, and prints it",
		Long: `
Makes an API key for a service account with its own groups. The standard output has
only the key. The registry stores its hash and cannot show the key again.

The key has the rights that the policy gives to its user and groups. --action and --on
narrow them: a key can have fewer rights than its groups, and never more.`,
		Example: `  caddy-registry registry key create --user me --group admins
  caddy-registry registry key create --user zot-ci --group artifact-workloads --name ci --expires 90d
  caddy-registry registry key create --user zot-ci --group admins --action read --action create --on 'team/**'`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&want.User, "user", "", "the service account")
	flags.StringArrayVar(&want.Groups, "group", nil, "a group of the service account; may be repeated")
	flags.StringVar(&want.Name, "name", "", "the label of the key (default: the date)")
	flags.StringVar(&expires, "expires", "", "its lifetime (default: the longest that is allowed)")
	flags.StringArrayVar(&want.Actions, "action", nil, "limits the key to an action; may be repeated")
	flags.StringArrayVar(&want.Globs, "on", nil, "limits the key to matching repositories; may be repeated")
	for _, flag := range []string{"user", "group", "name", "expires", "on"} {
		completeFlag(cmd, flag)
	}
	completeFlag(cmd, "action", actionNames()...)
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return fmt.Errorf("key create takes no argument, but there is %q", args[0])
		case want.User == "":
			return errors.New("--user is required: the service account of the key")
		}
		if expires != "" {
			lifetime, err := caddy.ParseDuration(expires)
			if err != nil || lifetime <= 0 {
				return fmt.Errorf("--expires %s is not a time like 90d", expires)
			}
			want.Lifetime = lifetime
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
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
		Use:   "list [--user <name>] [--json]",
		Short: "Lists API keys",
		Long: `
Lists the API keys of all users, or of one: their IDs, owners, labels and groups,
the end of their validity, and their last use. It never prints the keys themselves.

--json prints a list of objects, [] if there is no key.`,
		Example: `  caddy-registry registry key list
  caddy-registry registry key list --user zot-ci --json`,
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&user, "user", "", "only that user's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	completeFlag(cmd, "user")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := where.orderedBy(cmd, control.IdentityOrder{ListKeys: &user})
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
		Use:   "revoke [--yes] <id>",
		Short: "Revokes an API key, at once and permanently",
		Long: `
Revokes an API key. Clients that use it, or a token that was made with it, are refused
from the next request on. The key cannot be enabled again. key list prints the IDs.` + asksFirst,
		Example: `  caddy-registry registry key revoke 0123456789ab
  caddy-registry registry key revoke --yes 0123456789ab`,
		Args:              exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if asksOnTerminal(cmd, *yes) {
			report, err := where.orderedBy(cmd, control.IdentityOrder{ListKeys: new(string)})
			if err != nil {
				return err
			}
			report.Keys = slices.DeleteFunc(report.Keys, func(key identity.Key) bool { return key.ID != args[0] })
			if len(report.Keys) > 0 { // otherwise there is nothing to confirm
				printKeys(cmd.ErrOrStderr(), report.Keys, time.Now())
				if err := ask(cmd, "Revoke this key? Its clients are refused at once."); err != nil {
					return err
				}
			}
		}
		report, err := where.orderedBy(cmd, control.IdentityOrder{RevokeKey: args[0]})
		if err != nil {
			return err
		}
		key := report.Keys[0]
		fmt.Fprintf(cmd.OutOrStdout(), "revoked key %s (%s) of %s\n", key.ID, key.Name, key.User)
		return nil
	}
	return cmd
}

// orderedBy executes the order of a command. An error ends the command.
func (l *location) orderedBy(cmd *cobra.Command, order control.IdentityOrder) (control.IdentityReport, error) {
	report, err := l.order(cmd.Context(), order)
	if err != nil {
		return report, finish(cmd, statusFailed, err)
	}
	return report, nil
}

// orEmpty returns an empty slice for nil, so that JSON has [] instead of null.
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
