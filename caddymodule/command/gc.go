package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/store"
)

func gcCommand(where *location) *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "gc [--dry-run] [--json]",
		Short: "Removes what no manifest needs",
		Long: `
Removes content that no manifest needs, abandoned uploads, and, if the
configuration says so, untagged manifests. The registry serves meanwhile.

Content that was pushed, or that a client was told exists, within the grace period is
kept. After a start this covers everything until one grace period has passed.

--json prints {"private", "mirrors", "dry_run"}, with the numbers of blobs, links,
manifests, uploads and bytes of each, and what nothing keeps and is left until the end of
its grace ("waiting").`,
		Example: `  caddy-registry registry gc --dry-run
  caddy-registry registry gc --config /etc/registry/Caddyfile --json`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "report what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("gc takes no argument, but there is %q", args[0])
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := where.collect(commandContext(cmd), dryRun)
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		}
		printCollected(cmd.OutOrStdout(), report)
		return nil
	}
	return cmd
}

// printCollected prints the report for a person.
func printCollected(w io.Writer, r control.GCReport) {
	verb := "removed"
	if r.DryRun {
		verb = "would remove"
	}
	for _, tree := range []struct {
		name string
		store.Collected
	}{{storage.PrivateTree, r.Private}, {storage.MirrorsTree, r.Mirrors}} {
		fmt.Fprintf(w, "%s: %s %s of content: %d blobs, %d links to blobs, %d untagged manifests, %d abandoned uploads\n",
			tree.name, verb, humanize.IBytes(uint64(tree.Bytes)), tree.Blobs, tree.Links, tree.Manifests, tree.Uploads)
		if tree.Waiting.Objects > 0 {
			fmt.Fprintf(w, "%s: left %s of content that nothing keeps, because its grace is not over\n",
				tree.name, humanize.IBytes(uint64(tree.Waiting.Bytes)))
		}
		if tree.Kept > 0 {
			fmt.Fprintf(w, "%s: %d repositories were not collected, because they have damaged content; "+
				"the registry's log names it\n", tree.name, tree.Kept)
		}
	}
}

// collect runs the collector in the process that has the storage open, or here.
func (l *location) collect(ctx context.Context, dryRun bool) (control.GCReport, error) {
	registry, err := l.find()
	if err != nil {
		return control.GCReport{}, err
	}
	return carryOut(ctx, registry, fmt.Sprintf("/gc?dry_run=%t", dryRun), func(t *running.Trees) (control.GCReport, error) {
		// A client that learned of a blob shortly before the registry stopped may find it gone,
		// and pushes it again.
		done, err := t.Collect(ctx, store.CollectOptions{DryRun: dryRun, Idle: true})
		return control.GCReport{Collected: done, DryRun: dryRun}, err
	})
}
