package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// userCommand is `registry user`.
func userCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Lists, disables and enables users",
		Long: `
Lists, disables and enables users and service accounts. The policy of the
configuration defines their rights.`,
		Example: `  caddy-registry registry user list
  caddy-registry registry user disable zot-ci`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(userListCommand(where),
		userSetCommand(where, "disable", "Refuses all credentials of a user or service account, at once", true),
		userSetCommand(where, "enable", "Enables a disabled user or service account", false))
	return cmd
}

func userListCommand(where *location) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "Lists users that have signed in or were disabled",
		Long: `
Lists the users that have signed in or were disabled, with their groups as the provider
last reported them, and the time of that report. Service accounts have no groups here:
their keys have them.

--json prints a list of objects, [] if there is no user.`,
		Example: `  caddy-registry registry user list
  caddy-registry registry user list --json`,
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := where.orderedBy(cmd, control.IdentityOrder{ListUsers: true})
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(orEmpty(report.Users))
		}
		printUsers(cmd.OutOrStdout(), report.Users)
		return nil
	}
	return cmd
}

func userSetCommand(where *location, verb, short string, disable bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " <user>",
		Short: short,
		Long: `
Enables a disabled user or service account: it may sign in again, and its keys that have
not expired and were not revoked work again.`,
		Example:           "  caddy-registry registry user " + verb + " zot-ci",
		Args:              exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	yes := new(bool)
	if disable {
		cmd.Use = verb + " [--yes] <user>"
		cmd.Example += "\n  caddy-registry registry user disable --yes workload:forge"
		cmd.Long = `
Refuses a user or a service account from the next request on, with every credential:
sessions, keys, tokens and passwords. This also works for the last administrator,
with a warning. The command enable ends it, and the keys work again.` + asksFirst
		yes = yesFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		warned := ""
		if disable && asksOnTerminal(cmd, *yes) {
			preview, err := where.orderedBy(cmd, control.IdentityOrder{PreviewDisable: args[0]})
			if err != nil {
				return err
			}
			if len(preview.Keys) > 0 {
				printKeys(cmd.ErrOrStderr(), preview.Keys, time.Now())
			}
			warned = preview.Warning
			warn(cmd, warned)
			question := "Disable %s? They are refused at once, and so are these %d keys."
			if err := ask(cmd, fmt.Sprintf(question, args[0], len(preview.Keys))); err != nil {
				return err
			}
		}
		report, err := where.orderedBy(cmd, control.IdentityOrder{SetUser: args[0], Disable: disable})
		if err != nil {
			return err
		}
		if report.Warning != warned {
			warn(cmd, report.Warning)
		}
		for _, warning := range report.Misspelt {
			warn(cmd, warning)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%sd %s\n", verb, report.Users[0].Name)
		return nil
	}
	return cmd
}

func printUsers(w io.Writer, users []identity.User) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "USER\tGROUPS\tVERIFIED\tSTATE")
	for _, user := range users {
		verified, state := "never", "enabled"
		if !user.Verified.IsZero() {
			verified = user.Verified.UTC().Format(time.RFC3339)
		}
		if user.Disabled {
			state = "disabled"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", user.Name, strings.Join(user.Groups, ","), verified, state)
	}
	table.Flush()
}
