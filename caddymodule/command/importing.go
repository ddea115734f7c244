package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/built"
	"github.com/eblume/caddy-registry/caddymodule/config"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/importing"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/remote"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

func importCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Imports images and API keys from another registry",
		Long: `
Imports images from another registry, while this registry serves: from the directory of
a zot, with its API keys; from an OCI image layout; or over the network. Existing
content is not copied again, so an interrupted command can be run again.`,
		Example: `  caddy-registry registry import zot /home/me/zot --dry-run
  caddy-registry registry import registry registry.example.org 'team/**'`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(importZotCommand(where), importLayoutCommand(where), importRegistryCommand(where))
	return cmd
}

func importZotCommand(where *location) *cobra.Command {
	var order importing.Order
	var users []string
	var configFile string
	cmd := &cobra.Command{
		Use:   "zot [<rootdir>] [--zot-config <file>] [--dry-run] [--copy] [--user <old>=<new>] [--group <name>] [--json]",
		Short: "Imports the images and the API keys of a zot",
		Long: `
Imports the private images of a zot 2.1 from its root directory, with the times and
the users of their pushes, and its API keys. The directory is only read; zot must be
stopped.

What zot has cached of other registries goes to the mirrors, as far as their upstreams
show it to anonymous callers: each manifest and blob is asked for. The rest is listed
as not served. If an upstream cannot be asked, run the command again later.

With --zot-config it reads the root directory from zot's configuration file in JSON,
and prints what the Caddyfile lacks of it: mirrors, rules of the policy, sign-ins.

On the same file system a layer is a clone of zot's file, which shares its blocks, or
else a hard link: then the two trees have one file. --copy copies every layer.

The command can be interrupted and run again: it continues. A later import brings the
changes in zot, and does not change what was pushed or deleted here since. An API key
gets the groups of --group, and lasts until it ends in zot, but no longer than a new
key. It is imported once.

Content that is damaged or missing is left out and reported. The exit status is 0 when
everything was imported or skipped on purpose, 1 when something was left out or the
import ended early, and 2 for an invalid command line.`,
		Example: `  caddy-registry registry import zot --zot-config /home/me/.config/zot/config.json --dry-run
  caddy-registry registry import zot /home/me/zot --group artifact-workloads --user me@example.org=me`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	asJSON := importFlags(cmd, &order)
	flags := cmd.Flags()
	flags.StringArrayVar(&users, "user", nil, "<old>=<new>: the name here of a user of zot")
	flags.BoolVar(&order.Copy, "copy", false, "copy layers also where they could share zot's files")
	flags.StringArrayVar(&order.Groups, "group", nil, "a group of the imported API keys")
	flags.StringVar(&configFile, "zot-config", "", "zot's configuration file, in JSON")
	completeFlag(cmd, "user")
	completeFlag(cmd, "group")
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) (err error) {
		switch {
		case len(args) > 1, len(args) == 1 && args[0] == "", len(args) == 0 && configFile == "":
			return fmt.Errorf("usage: %s", cmd.UseLine())
		case where.storage != "":
			return errImportStorage
		}
		order.Users, err = importing.Users(users)
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var zots *zot.Config
		if configFile != "" {
			if zots, err = zot.ReadConfig(configFile); err != nil {
				return finish(cmd, statusFailed, err)
			}
		}
		if order.Zot, err = rootOf(args, zots); err != nil {
			return finish(cmd, statusFailed, err)
		}
		return where.runImport(cmd, order, zots, *asJSON)
	}
	return cmd
}

// rootOf returns zot's root directory: the argument, or that of zot's configuration, which is nil
// without one.
func rootOf(args []string, zots *zot.Config) (string, error) {
	if len(args) == 0 {
		return zots.Root()
	}
	root, err := filepath.Abs(args[0])
	if err == nil && zots != nil {
		err = zots.Agrees(root)
	}
	return root, err
}

// errImportStorage refuses --storage, which does not define names.
var errImportStorage = errors.New("import reads from a configuration which names are private and which are mirrors; use --config instead of --storage")

// importFlags adds the options of every import. It returns the value of --json.
func importFlags(cmd *cobra.Command, order *importing.Order) (asJSON *bool) {
	cmd.Flags().BoolVar(&order.DryRun, "dry-run", false, "read and check everything, and change nothing")
	return cmd.Flags().Bool("json", false, "print a JSON line for each tag and manifest, and last the result")
}

func importLayoutCommand(where *location) *cobra.Command {
	order := importing.Order{Layout: &importing.Layout{}}
	cmd := &cobra.Command{
		Use:   "oci-layout <dir or archive> <repository> [--dry-run] [--json]",
		Short: "Imports the images of an OCI image layout into a repository",
		Long: `
Imports the images of an OCI image layout (a directory with the files oci-layout and
index.json, as skopeo, crane, buildah and docker buildx write it, or a tar archive of
one, as an oci-archive is) into one repository. It is only read. The tag is the value of the annotation
org.opencontainers.image.ref.name or, if that is a whole reference, its tag.

A tag that was pushed here since is not changed, and listed as skipped. Content that is
damaged or missing is left out and reported. The exit status is 0 when everything was
imported or skipped on purpose, 1 when something was left out or the import ended
early, and 2 for an invalid command line.`,
		Example: `  caddy-registry registry import oci-layout ./app team/app
  caddy-registry registry import oci-layout app.tar team/app`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	asJSON := importFlags(cmd, &order)
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) (err error) {
		switch {
		case len(args) != 2 || args[0] == "":
			return fmt.Errorf("usage: %s", cmd.UseLine())
		case where.storage != "":
			return errImportStorage
		}
		order.Layout.Repository, err = core.ParseName(args[1])
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if order.Layout.Dir, err = filepath.Abs(args[0]); err != nil {
			return finish(cmd, statusFailed, err)
		}
		return where.runImport(cmd, order, nil, *asJSON)
	}
	return cmd
}

func importRegistryCommand(where *location) *cobra.Command {
	order := importing.Order{Registry: &remote.Config{UserAgent: "caddy-registry/" + built.From().Version}}
	var username, password string
	cmd := &cobra.Command{
		Use:   "registry <host> [<pattern>...] [--username <name> --password <password>] [--plain-http] [--dry-run] [--json]",
		Short: "Imports images from another registry over the network",
		Long: `
Imports images from another registry by the protocol that clients use: every tag, the
platforms of an index, and the referrers of an image, such as signatures. The protocol
does not give access to manifests without a tag and to the times of pushes. A repository
has the same name here, and must be private here.

The patterns choose repositories, such as team/**. A pattern without a wildcard does not
need the registry's list of repositories, which some registries do not have. Without
--username the credentials are those of docker login (~/.docker/config.json), if there
are any for the host. --password takes a placeholder, so that it is not in the shell's
history: {env.TOKEN} or {file./run/secrets/token}.

Existing content is not copied again: the command can be run again, and brings the
changes since. A tag that was pushed here since is not changed, and listed as skipped.
The exit status is 0 when everything was imported or skipped on purpose, 1 when something
was left out or the import ended early, and 2 for an invalid command line.`,
		Example: `  caddy-registry registry import registry registry.example.org 'team/**' --dry-run
  caddy-registry registry import registry registry.example.org team/app --username me --password {env.TOKEN}`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	asJSON := importFlags(cmd, &order)
	flags := cmd.Flags()
	flags.StringVar(&username, "username", "", "the user at the other registry")
	flags.StringVar(&password, "password", "", "the password or key of --username; a placeholder")
	flags.BoolVar(&order.Registry.PlainHTTP, "plain-http", false, "connect without TLS")
	completeFlag(cmd, "username")
	completeFlag(cmd, "password")
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) (err error) {
		switch {
		case len(args) == 0 || args[0] == "":
			return fmt.Errorf("usage: %s", cmd.UseLine())
		case where.storage != "":
			return errImportStorage
		case (username == "") != (password == ""):
			return errors.New("--username and --password go together")
		}
		order.Registry.Host, order.Registry.Globs = args[0], args[1:]
		_, err = remote.Open(*order.Registry)
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		auth, err := credentialsFor(order.Registry.Host, username, password)
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		order.Registry.Auth = *auth
		return where.runImport(cmd, order, nil, *asJSON)
	}
	return cmd
}

// credentialsFor returns the credentials of the options, or else those of docker login.
func credentialsFor(host, username, password string) (*authn.AuthConfig, error) {
	if username != "" {
		secret, err := option.Resolve("--password", password)
		if err != nil {
			return nil, err
		}
		return &authn.AuthConfig{Username: username, Password: secret}, nil
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return nil, err
	}
	found, err := authn.DefaultKeychain.Resolve(registry)
	if err != nil {
		return nil, fmt.Errorf("credentials of docker login for %s: %w", host, err)
	}
	return found.Authorization()
}

// runImport imports, and prints the result. zots is the configuration of a zot, or nil.
func (l *location) runImport(cmd *cobra.Command, order importing.Order, zots *zot.Config, asJSON bool) (err error) {
	printer := &importing.Printer{Out: cmd.OutOrStdout()}
	if isTerminal(cmd.ErrOrStderr()) {
		printer.Progress = cmd.ErrOrStderr()
	}
	report := printer.Item
	if lines := json.NewEncoder(cmd.OutOrStdout()); asJSON {
		report = func(item transfer.Item) { lines.Encode(item) }
	}
	result, err := l.importFrom(commandContext(cmd), order, report)
	if err == nil && zots != nil {
		result.Advice, err = l.advise(zots, order)
	}
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
	settings, err := importSettings(app, site.Private)
	if err != nil {
		return result, err
	}
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
				ours.CloseWithError(t.Import(ctx, order, settings, ours))
			}()
			err = read(answer)
			answer.CloseWithError(err)
			<-done
			return err
		})
	})
	return result, err
}

// importSettings are those of a configuration for an import without a running process.
func importSettings(app *config.Registry, private globs.Globs) (c running.ImportSettings, err error) {
	minFree, err := app.LeaveFree()
	if err != nil {
		return c, fmt.Errorf("min_free: %w", err)
	}
	collection, err := app.GC.Collection()
	if err != nil {
		return c, fmt.Errorf("gc: %w", err)
	}
	return running.ImportSettings{
		Keys: app.KeyLimits(), Bounds: app.Bounds(minFree, collection),
		Mirrors: func() ([]running.MirrorSpec, error) { return app.MirrorSpecs(private) },
	}, nil
}

// advise compares the configuration of a zot with this registry's.
func (l *location) advise(zots *zot.Config, order importing.Order) ([]string, error) {
	app, err := l.app()
	if err != nil {
		return nil, err
	}
	site, err := app.Site()
	if err != nil {
		return nil, err
	}
	rules, err := app.Rules(site)
	if err != nil {
		return nil, err
	}
	return importing.Advise(zots, importing.Here{
		Mirrors: site.Mirrors, Rules: rules, SignIn: app.OIDC != nil, LocalUsers: len(app.LocalUsers) > 0,
	}, order.Users), nil
}
