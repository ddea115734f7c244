package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/verify"
)

// statusTrouble is the exit status of a verification that found no damage but could not examine
// everything.
const statusTrouble = 3

func verifyCommand(where *location) *cobra.Command {
	var repair, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [--repair] [--json] [<repository>]",
		Short: "Reads all stored content and compares it with its digest",
		Long: `
Reads all stored content, or that of one repository, and reports content that does
not match its digest, missing content that is needed, and damaged records, each with
the affected repositories, tags and manifests. The registry serves meanwhile. The
option rate of the block verify limits how much is read in a second (default 20MiB).

Without --repair nothing is changed. With it, content that does not match its digest
is moved to the quarantine, from where it is removed after 30 days. Clients are then
told that it is missing: the next push replaces it, and a mirror fetches it again.

The exit status is 0 when everything is right, 1 when something is damaged or
missing, 2 when the command line is not understood, and 3 when no damage was found
but something could not be read.`,
		Example: `  caddy-registry registry verify
  caddy-registry registry verify --json docker.io/nginx
  caddy-registry registry verify --repair team/app`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "move damaged content to the quarantine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	repo := "" // every one
	cmd.Args = accepting(func(_ *cobra.Command, args []string) (err error) {
		if len(args) > 1 {
			return errors.New("verify takes at most one repository, such as team/app or docker.io/nginx")
		}
		if len(args) == 1 {
			var ref core.Reference
			repo, ref, err = control.ParseTarget(args[0])
			if err == nil && (ref.Tag != "" || ref.Digest != "") {
				err = fmt.Errorf("verify takes a repository without a tag or digest: %s", repo)
			}
		}
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := where.verify(commandContext(cmd), verify.Options{Repair: repair, Repository: repo})
		if err != nil {
			return finish(cmd, statusTrouble, err)
		}
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else {
			err = report.Write(cmd.OutOrStdout())
		}
		switch found := report.Found; {
		case err != nil:
			return finish(cmd, statusTrouble, err)
		case found.Damaged > 0 && found.Trouble > 0:
			err = fmt.Errorf("%d damaged or missing, %d could not be read", found.Damaged, found.Trouble)
			return finish(cmd, statusFailed, err)
		case found.Damaged > 0:
			return finish(cmd, statusFailed, fmt.Errorf("%d damaged or missing; push the affected images again", found.Damaged))
		case found.Trouble > 0:
			return finish(cmd, statusTrouble, fmt.Errorf("%d could not be read; no damage was found elsewhere", found.Trouble))
		}
		return nil
	}
	return cmd
}

// verify verifies in the process that has the storage open, or here.
func (l *location) verify(ctx context.Context, o verify.Options) (*verify.Report, error) {
	r, err := l.find()
	if err != nil {
		return nil, err
	}
	query := url.Values{"repair": {fmt.Sprint(o.Repair)}, "repository": {o.Repository}}
	return carryOut(ctx, r, "/verify?"+query.Encode(), func(t *running.Trees) (*verify.Report, error) {
		t.SetVerifying(verify.Settings{Rate: r.verifyRate})
		return t.Verify(ctx, o)
	})
}
