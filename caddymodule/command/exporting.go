package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

func exportCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Exports images",
		Long: `
Exports images that were pushed here, while this registry serves.`,
		Example: `  caddy-registry registry export oci-layout team/app:v1 ./app`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(exportLayoutCommand(where))
	return cmd
}

// archiveSuffix makes the destination of an export one file.
const archiveSuffix = ".tar"

func exportLayoutCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oci-layout <repository>[:<tag>|@<digest>] <dir>|<file>.tar",
		Short: "Writes images of a private repository as an OCI image layout",
		Long: `
Writes images of a private repository as an OCI image layout, which skopeo, crane,
podman and "registry import oci-layout" read: one tag, one manifest, or all tags of the
repository. It includes the platforms of an index and the referrers of an image, such as
signatures. The directory must be empty or missing. With a name that ends in .tar the
layout is one file (skopeo calls it oci-archive), which must not exist.

Every digest is checked. An export that fails leaves no layout. The exit status is 0 when
everything was written, 1 when it was not, and 2 for an invalid command line.`,
		Example: `  caddy-registry registry export oci-layout team/app ./app
  caddy-registry registry export oci-layout team/app:v1 app.tar`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 || args[1] == "" {
			return fmt.Errorf("usage: %s", cmd.UseLine())
		}
		_, _, err := control.ParseTarget(args[0])
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		write := writeDirectory
		if strings.HasSuffix(args[1], archiveSuffix) {
			write = writeArchive
		}
		err := write(args[1], func(read func(io.Reader) error) error {
			return where.export(commandContext(cmd), args[0], read)
		})
		if err != nil {
			return finish(cmd, statusFailed, fmt.Errorf("export %s: %w", args[0], err))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is in %s\n", args[0], args[1])
		return nil
	}
	return cmd
}

// writeDirectory unpacks the exported layout into a directory. If that fails, the directory is
// unchanged.
func writeDirectory(dir string, export func(read func(io.Reader) error) error) error {
	_, statErr := os.Stat(dir)
	into, err := layout.Create(dir)
	if err != nil {
		return err
	}
	defer into.Close()
	if err = export(func(archive io.Reader) error { return layout.Unpack(archive, into) }); err == nil {
		return nil
	}
	entries, listErr := os.ReadDir(dir)
	err = errors.Join(err, listErr)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	if errors.Is(statErr, os.ErrNotExist) {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// writeArchive writes the exported layout into a file, once it is complete.
func writeArchive(name string, export func(read func(io.Reader) error) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = export(func(archive io.Reader) error { return layout.Copy(f, archive) })
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// export exports in the process that has the storage open, or here.
func (l *location) export(ctx context.Context, name string, read func(io.Reader) error) error {
	r, err := l.find()
	if err != nil {
		return err
	}
	repo, ref, err := control.ParseTarget(name)
	if err != nil {
		return err
	}
	return whileStarting(ctx, func() error {
		err := control.Stream(ctx, r.local, "/export?name="+url.QueryEscape(name), nil, read)
		if !errors.Is(err, control.ErrNobodyListens) {
			return err
		}
		return r.withTrees(ctx, func(t *running.Trees) error {
			archive, ours := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				ours.CloseWithError(t.Export(ctx, ours, repo, ref))
			}()
			err := read(archive)
			archive.CloseWithError(err)
			<-done
			return err
		})
	})
}
