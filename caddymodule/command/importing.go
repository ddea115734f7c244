package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/transfer"
)

func importCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Imports images and API keys from another registry",
		Long: `
Imports images and API keys from another registry, while this registry serves.`,
		Example: `  caddy-registry registry import zot /home/me/zot --dry-run`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(importZotCommand(where))
	return cmd
}

func importZotCommand(where *location) *cobra.Command {
	var order importing.Order
	var users []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "zot <rootdir> [--dry-run] [--user <old>=<new>] [--group <name>] [--json]",
		Short: "Imports the private images and the API keys of a zot",
		Long: `
Imports the private images of a zot 2.1 from its root directory, with the times and
the users of their pushes, and its API keys. The directory is only read; zot must be
stopped. Images of mirrors are skipped: mirrors fetch them on request.

The command can be interrupted and run again: it continues. A later import brings the
changes in zot, and does not change what was pushed or deleted here since. An API key
gets the groups of --group, and lasts until it ends in zot, but no longer than a new
key. It is imported once.

Content that is damaged or missing is left out and reported. The exit status is 0 when
everything was imported or skipped on purpose, 1 when something was left out or the
import ended early, and 2 for an invalid command line.`,
		Example: `  caddy-registry registry import zot /home/me/zot --dry-run
  caddy-registry registry import zot /home/me/zot --group artifact-workloads --user me@example.org=me`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&order.DryRun, "dry-run", false, "read and check everything, and change nothing")
	flags.StringArrayVar(&users, "user", nil, "<old>=<new>: the name here of a user of zot")
	flags.StringArrayVar(&order.Groups, "group", nil, "a group of the imported API keys")
	flags.BoolVar(&asJSON, "json", false, "print a JSON line for each tag and manifest, and last the result")
	completeFlag(cmd, "user")
	completeFlag(cmd, "group")
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) (err error) {
		switch {
		case len(args) != 1 || args[0] == "":
			return fmt.Errorf("usage: %s", cmd.UseLine())
		case where.storage != "":
			return errors.New("import reads from a configuration which names are private and which are mirrors; use --config instead of --storage")
		}
		order.Users, err = importing.Users(users)
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if order.Zot, err = filepath.Abs(args[0]); err != nil {
			return finish(cmd, statusFailed, err)
		}
		printer := &importing.Printer{Out: cmd.OutOrStdout()}
		if isTerminal(cmd.ErrOrStderr()) {
			printer.Progress = cmd.ErrOrStderr()
		}
		report := printer.Item
		if lines := json.NewEncoder(cmd.OutOrStdout()); asJSON {
			report = func(item transfer.Item) { lines.Encode(item) }
		}
		result, err := where.importFrom(commandContext(cmd), order, report)
		switch {
		case err != nil:
			return finish(cmd, statusFailed, err)
		case asJSON:
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]importing.Result{"result": result})
		default:
			printer.Result(result)
		}
		switch {
		case err != nil:
			return finish(cmd, statusFailed, err)
		case result.Error != "":
			return finish(cmd, statusFailed, fmt.Errorf("the import ended early: %s", result.Error))
		case result.Failed():
			return finish(cmd, statusFailed, errors.New("something was left out; see above"))
		}
		return nil
	}
	return cmd
}

// importFrom imports in the process that has the storage open, or here.
func (l *location) importFrom(ctx context.Context, order importing.Order, report func(transfer.Item)) (result importing.Result, err error) {
	app, err := l.app()
	if err != nil {
		return result, err
	}
	site, err := app.Site()
	if err != nil {
		return result, err
	}
	order.Mirrors, order.Private = site.Mirrors, app.Private
	r, err := l.find()
	if err != nil {
		return result, err
	}
	read := func(answer io.Reader) (err error) {
		result, err = importing.Read(answer, report)
		return err
	}
	err = whileStarting(ctx, func() error {
		err := control.Stream(ctx, r.local, "/import", order, read)
		if !errors.Is(err, control.ErrNobodyListens) {
			return err
		}
		return r.withTrees(ctx, func(t *running.Trees) (err error) {
			answer, ours := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				ours.CloseWithError(t.Import(ctx, order, r.keys, ours))
			}()
			err = read(answer)
			answer.CloseWithError(err)
			<-done
			return err
		})
	})
	return result, err
}
