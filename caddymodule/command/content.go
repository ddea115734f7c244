package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core"
)

// shows has the flags of every command about content.
type shows struct {
	server string
	json   bool
}

func (s *shows) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.server, "server", "", "ask the registry at this address, with the credentials of docker login")
	cmd.Flags().BoolVar(&s.json, "json", false, "print the answers of the HTTP API, one a line")
	completeFlag(cmd, "server")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// remotely is the end of the help of every command about content.
const remotely = `

The command asks the running registry as its operator, who may see and delete everything,
or opens the storage itself. With --server it asks any registry of this kind over HTTP, as
the user of docker login there; over plain HTTP to another machine it is anonymous.`

// check refuses a command line that names two registries.
func (s *shows) check(where *location) error {
	if s.server != "" && (where.storage != "" || where.config != "") {
		return errors.New("--server cannot be combined with --config or --storage; use one of them")
	}
	return nil
}

// one accepts one argument, which parse reads.
func (s *shows) one(where *location, parse func(text string) error) cobra.PositionalArgs {
	return accepting(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("usage: %s", cmd.UseLine())
		}
		if err := s.check(where); err != nil {
			return err
		}
		return parse(args[0])
	})
}

// run calls use with the registry. An error ends the command.
func (s *shows) run(cmd *cobra.Command, where *location, use func(context.Context, *catalog) error) error {
	ctx := commandContext(cmd)
	if err := where.withCatalog(ctx, s.server, func(c *catalog) error { return use(ctx, c) }); err != nil {
		return finish(cmd, statusFailed, err)
	}
	return nil
}

// printed prints an answer: its JSON, or what table makes of it.
func (s *shows) printed(cmd *cobra.Command, body []byte, table func(*printer)) {
	if s.json {
		cmd.OutOrStdout().Write(body)
		return
	}
	p := newPrinter(cmd.OutOrStdout())
	table(p)
	p.flush()
}

// printList prints a list as its pages come.
func (s *shows) printList(ctx context.Context, cmd *cobra.Command, c *catalog, path string, query url.Values, rows func(*printer, *api.List) int) error {
	count, incomplete := 0, false
	err := c.list(ctx, path, query, func(page *api.List, body []byte) error {
		incomplete = page.Incomplete
		s.printed(cmd, body, func(p *printer) {
			p.headed = count > 0
			count += rows(p, page)
		})
		return ctx.Err()
	})
	if err == nil && !s.json && count == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing found")
	}
	if err == nil && incomplete {
		warn(cmd, "the registry is still learning what it holds; the list may lack rows")
	}
	return err
}

func lsCommand(where *location) *cobra.Command {
	var s shows
	var order, kind string
	cmd := &cobra.Command{
		Use:   "ls [<name/>|<part of a name>|<name>:<tag>|<digest>] [--order name] [--kind private] [--json] [--server <address>]",
		Short: "Lists repositories, or finds tags and content",
		Long: `
Lists the repositories: all, those below a first component such as team/ or docker.io/,
or those with a text in their names. A tag behind a colon is looked up in all of them, and
an empty name means all; the beginning of a digest, with 6 digits or more, finds who holds
such content. Times are UTC.` + remotely,
		Example: `  caddy-registry registry ls
  caddy-registry registry ls docker.io/ --order pull
  caddy-registry registry ls :latest --json
  caddy-registry registry ls sha256:0123456789ab --server https://registry.example.org`,
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&order, "order", "name", "the order: name, push, pull or size")
	cmd.Flags().StringVar(&kind, "kind", "", "only these repositories: private or mirror")
	completeFlag(cmd, "order", "name", "push", "pull", "size")
	completeFlag(cmd, "kind", "private", "mirror")
	cmd.Args = accepting(func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("usage: %s", cmd.UseLine())
		}
		return s.check(where)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{"order": {order}}
		if kind != "" {
			query.Set("kind", kind)
		}
		if len(args) == 1 && args[0] != "" {
			if in, ok := strings.CutSuffix(args[0], "/"); ok && !strings.Contains(in, "/") {
				query.Set("in", in)
			} else {
				query.Set("q", args[0])
			}
		}
		return s.run(cmd, where, func(ctx context.Context, c *catalog) error {
			return s.printList(ctx, cmd, c, "/api/images", query, (*printer).found)
		})
	}
	return cmd
}

func tagsCommand(where *location) *cobra.Command {
	var s shows
	var order, part, path string
	cmd := &cobra.Command{
		Use:   "tags <repository> [--order version] [--tag <part>] [--json] [--server <address>]",
		Short: "Lists the tags of a repository",
		Long: `
Lists the tags of a repository, the highest version first: what each names, since when, its
size, its last pull, and the other tags of the same image. Times are UTC.` + remotely,
		Example: `  caddy-registry registry tags team/app
  caddy-registry registry tags docker.io/nginx --order pull --tag alpine`,
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&order, "order", "version", "the order: version, push, pull or name")
	cmd.Flags().StringVar(&part, "tag", "", "only tags with this text in their names")
	completeFlag(cmd, "order", "version", "push", "pull", "name")
	completeFlag(cmd, "tag")
	cmd.Args = s.one(where, func(text string) error {
		repo, ref, err := control.ParseTarget(text)
		if err == nil && ref != (core.Reference{}) {
			err = fmt.Errorf("%s names an image; tags takes a repository", text)
		}
		path = pathOf(repo, ref) + "/-/tags"
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{"order": {order}}
		if part != "" {
			query.Set("tag", part)
		}
		return s.run(cmd, where, func(ctx context.Context, c *catalog) error {
			return s.printList(ctx, cmd, c, path, query, (*printer).tags)
		})
	}
	return cmd
}

// pathOf returns the address of a repository or an image in the API.
func pathOf(repo string, ref core.Reference) string {
	switch {
	case ref.Digest != "":
		return "/api/images/" + repo + "@" + string(ref.Digest)
	case ref.Tag != "":
		return "/api/images/" + repo + ":" + ref.Tag
	}
	return "/api/images/" + repo
}

func showCommand(where *location) *cobra.Command {
	var s shows
	var path string
	var image bool
	cmd := &cobra.Command{
		Use:   "show <repository>[:<tag>|@<digest>] [--json] [--server <address>]",
		Short: "Describes an image or a repository",
		Long: `
Describes an image: its platforms, sizes, tags and annotations, when and by whom it was
pushed, how often it was pulled, what it names and what names it. Of a repository it
describes the size, the newest tag and, with --server, what you may do there. Times are
UTC.` + remotely,
		Example: `  caddy-registry registry show team/app:v1
  caddy-registry registry show team/app --json`,
	}
	s.flags(cmd)
	cmd.Args = s.one(where, func(text string) error {
		repo, ref, err := control.ParseTarget(text)
		path, image = pathOf(repo, ref), ref != (core.Reference{})
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.run(cmd, where, func(ctx context.Context, c *catalog) error {
			if image {
				answer := new(api.ImageAnswer)
				body, err := c.ask(ctx, http.MethodGet, path, nil, answer)
				if err == nil {
					s.printed(cmd, body, func(p *printer) { p.image(answer) })
				}
				return err
			}
			answer := new(api.RepositoryAnswer)
			body, err := c.ask(ctx, http.MethodGet, path, nil, answer)
			if err == nil {
				s.printed(cmd, body, func(p *printer) { p.repository(answer) })
			}
			return err
		})
	}
	return cmd
}
