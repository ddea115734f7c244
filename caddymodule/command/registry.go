package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/console"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "registry",
		Usage: "<command> [--config <path>] [--adapter <name>] [--storage <dir>]",
		Short: "Manages the container registry",
		Long: `
Manages the container registry that the configuration describes.

If the registry runs, the command is carried out by the running process, which it
reaches through control.sock in the storage directory; else it opens the storage
itself. Either way it must run as the user that the registry runs as.

The exit status is 0 when it is done, 1 when it was refused or went wrong, and 2
when the command line is not understood.`,
		CobraFunc: registryCommand,
	})
}

// registryCommand completes the command, which does nothing without a subcommand.
func registryCommand(cmd *cobra.Command) {
	where := &location{stderr: cmd.ErrOrStderr}
	flags := cmd.PersistentFlags()
	flags.StringVarP(&where.config, "config", "c", "", "the configuration (default ./Caddyfile)")
	flags.StringVarP(&where.adapter, "adapter", "a", "", "the format of the configuration, if its name does not show it")
	flags.StringVar(&where.storage, "storage", "", "the storage directory, instead of a configuration")
	completeFlag(cmd, "adapter", adapters()...)
	if err := cmd.MarkPersistentFlagDirname("storage"); err != nil {
		panic(err) // there is no such flag
	}
	cmd.Example = `  caddy-registry registry doctor
  caddy-registry registry key create --user zot-ci --group artifact-workloads --config /etc/registry/Caddyfile
  caddy-registry registry gc --dry-run --storage /srv/registry`
	cmd.SetHelpTemplate(cmd.HelpTemplate() + helpFooter)
	cmd.SetFlagErrorFunc(misused)
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := where.check(); err != nil {
			return misused(cmd, err)
		}
		return nil
	}
	needsSubcommand(cmd)
	cmd.AddCommand(
		lsCommand(where), tagsCommand(where), showCommand(where), rmCommand(where),
		gcCommand(where), purgeCommand(where), verifyCommand(where), importCommand(where), exportCommand(where), doctorCommand(where),
		keyCommand(where), userCommand(where), policyCommand(where), demoCommand(where), healthCommand(),
	)
}

// helpFooter ends the help of each command, instead of Caddy's footer, which names Caddy's
// manual.
const helpFooter = `
The manual: https://github.com/eblume/caddy-registry/blob/main/docs/look-up/commands.md
`

// needsSubcommand makes a command refuse to run without one of its subcommands.
func needsSubcommand(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs // otherwise cobra refuses them, with status 1
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, fmt.Errorf("missing command; see %s --help", cmd.CommandPath()))
		}
		return misused(cmd, fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath()))
	}
}

// accepting returns the check of a command's arguments, which runs after the flags were read
// and before the command does anything. The errors of check are messages for an operator; they
// end the command with statusMisuse.
func accepting(check func(cmd *cobra.Command, args []string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return misused(cmd, err)
		}
		return nil
	}
}

// exactly accepts n arguments that are not empty.
func exactly(n int) cobra.PositionalArgs {
	return accepting(func(cmd *cobra.Command, args []string) error {
		if len(args) != n || slices.Contains(args, "") {
			return fmt.Errorf("usage: %s", cmd.UseLine())
		}
		return nil
	})
}

// completeFlag makes a shell complete the value of a flag with these words, and not with file
// names.
func completeFlag(cmd *cobra.Command, flag string, words ...string) {
	complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag, or it was registered twice
	}
}

// adapters are the formats of configurations that this program reads.
func adapters() (names []string) {
	for _, module := range caddy.GetModules("caddy.adapters") {
		names = append(names, module.ID.Name())
	}
	return names
}

// The exit status of a command.
const (
	statusFailed = 1
	statusMisuse = 2
)

// misused ends a command with an invalid command line.
func misused(cmd *cobra.Command, err error) error {
	return finish(cmd, statusMisuse, err)
}

// finish ends a command with a status other than 0, and reports the error.
func finish(cmd *cobra.Command, status int, err error) error { return console.Fail(cmd, status, err) }

// commandContext returns the command's context; cobra has none by default.
func commandContext(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
