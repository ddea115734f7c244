package caddymodule

import (
	"fmt"

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
	flags.StringVarP(&where.adapter, "adapter", "a", "", "its format, if its name does not tell")
	flags.StringVar(&where.storage, "storage", "", "the storage directory, instead of a configuration")
	cmd.SetFlagErrorFunc(misused)
	cmd.Args = cobra.ArbitraryArgs // or cobra refuses them itself, with status 1
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, fmt.Errorf("which command? see %s --help", cmd.CommandPath()))
		}
		return misused(cmd, fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath()))
	}
	cmd.AddCommand(gcCommand(where), purgeCommand(where), verifyCommand(where), importCommand(where), doctorCommand(where), keyCommand(where), userCommand(where), policyCommand(where), demoCommand(where))
}

// The exit status of a command.
const (
	statusDone   = 0
	statusFailed = 1
	statusMisuse = 2
)

// misused ends a command whose line was not understood.
func misused(cmd *cobra.Command, err error) error {
	return finish(cmd, statusMisuse, err)
}

// finish ends a command with a status that is not statusDone, and reports the error.
func finish(cmd *cobra.Command, status int, err error) error { return console.Fail(cmd, status, err) }
