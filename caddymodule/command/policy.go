package command

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/config"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

func policyCommand(where *location) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Explains the policy",
		Long: `
Explains which rule of the policy allows or denies an action in a repository.`,
		Example: `  caddy-registry registry policy explain --user me push team/app:v1`,
	}
	needsSubcommand(cmd)
	cmd.AddCommand(explainCommand(where))
	return cmd
}

// question has the arguments of `policy explain`.
type question struct {
	user, key string
	groups    []string
	anonymous bool
	action    string
	target    string // <name>[:tag]
	// found is what the storage knows about key, or nil. warn receives the reason why the
	// storage could not be read.
	found *foundKey
	warn  func(string)
}

func explainCommand(where *location) *cobra.Command {
	q := new(question)
	cmd := &cobra.Command{
		Use: "explain [--user <name>] [--group <name>]... [--key <id or label>] [--anonymous] " +
			"<action> <name>[:tag]",
		Short: "Reports whether the policy allows an action, and which line of the configuration decides",
		Long: `
Reports whether the policy allows an action in a repository, and which line of the
configuration decides. It reads only the configuration: no process, no storage, no
secret. The groups of a user are those of --group or, without one, of their
local_user. With --key it also reads, from the running process or the storage, the
key's owner, the owner's groups and the limits of the key.

The actions are read, fetch, create, update, delete and admin. The action push is
create if the tag is absent and update if it exists, and both are printed; its
exit status is that of a new tag.

The exit status is 0 when it is allowed, 1 when it is denied, and 2 when the command
line is not understood.`,
		Example: `  caddy-registry registry policy explain read docker.io/nginx
  caddy-registry registry policy explain --user me --group people push team/app:v1
  caddy-registry registry policy explain --key 0123456789ab delete team/app`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return append(actionNames(), pushAction), cobra.ShellCompDirectiveNoFileComp
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.user, "user", "", "the user's name")
	flags.StringArrayVar(&q.groups, "group", nil, "a group that the user is in; may be repeated")
	flags.StringVar(&q.key, "key", "",
		"the ID of the API key that the user has, or its label if it is a service account's")
	flags.BoolVar(&q.anonymous, "anonymous", false, "a caller without an identity (the default)")
	for _, flag := range []string{"user", "group", "key"} {
		completeFlag(cmd, flag)
	}
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) != 2 {
			return errors.New("explain takes an action, and a repository with or without a tag")
		}
		q.action, q.target = args[0], args[1]
		_, _, _, err := q.read()
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q.warn = func(text string) { warn(cmd, text) }
		if q.key != "" {
			where.findKey(commandContext(cmd), q)
		}
		allowed, err := where.explain(cmd.OutOrStdout(), q)
		switch {
		case errors.Is(err, errQuestion):
			return misused(cmd, err)
		case err != nil:
			return finish(cmd, statusFailed, err)
		case !allowed:
			return finish(cmd, statusFailed, nil) // the printed answer has the reason
		}
		return nil
	}
	return cmd
}

// errQuestion reports invalid arguments.
var errQuestion = errors.New("invalid arguments")

// unnamed is the user of a question that names only groups or a key. No
// rule of a Caddyfile can be about it.
const unnamed = "somebody\x00"

// who returns the identity that the question is about.
func (q *question) who() (policies.Identity, error) {
	named := q.user != "" || len(q.groups) > 0 || q.key != ""
	if !named {
		return policies.Identity{}, nil
	}
	if q.anonymous {
		return policies.Identity{}, fmt.Errorf("%w: --anonymous is a caller without user, groups and key", errQuestion)
	}
	who := policies.Identity{User: q.user, Groups: q.groups, Key: policies.NamedKey(q.key)}
	if q.found != nil {
		if err := q.found.complete(&who); err != nil {
			return who, err
		}
	}
	if who.User == "" {
		who.User = unnamed
	}
	return who, nil
}

// pushAction means the two actions of a push: create and update.
const pushAction = "push"

// actionNames are the actions of a policy, without *.
func actionNames() (names []string) {
	for _, action := range policies.Actions {
		names = append(names, action.String())
	}
	return names
}

// read parses the action and the target. It returns the actions, the place, and the tag or "".
func (q *question) read() (actions []policies.Action, name, tag string, err error) {
	name = q.target
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if _, err := core.ParseTag(tag); err != nil {
			return nil, "", "", fmt.Errorf("%w: %w", errQuestion, err)
		}
	}
	if _, err := core.ParseName(name); err != nil {
		return nil, "", "", fmt.Errorf("%w: %w", errQuestion, err)
	}
	if q.action == pushAction {
		return []policies.Action{policies.Create, policies.Update}, name, tag, nil
	}
	action, err := policies.ParseAction(q.action)
	if err != nil {
		return nil, "", "", fmt.Errorf("%w: %w", errQuestion, err)
	}
	return []policies.Action{action}, name, tag, nil
}

// explain answers the question on out.
func (l *location) explain(out io.Writer, q *question) (allowed bool, err error) {
	who, err := q.who()
	if err != nil {
		return false, err
	}
	actions, name, tag, err := q.read()
	if err != nil {
		return false, err
	}
	app, err := l.app()
	if err != nil {
		return false, err
	}
	q.found.addLocal(app.LocalUsers, &who)
	q.addLocal(app.LocalUsers, &who)
	site, err := app.Site()
	if err != nil {
		return false, err
	}
	rules, err := app.Policy.Rules(config.Names(site))
	if err != nil {
		return false, fmt.Errorf("policy: %w", err)
	}
	request, err := namespace.Resolve(wire.Request{Kind: kindOf(actions[0]), Name: name, Repo: name}, site)
	if err != nil {
		fmt.Fprintf(out, "%s in %s: denied: %v\n", q.action, name, err)
		return false, nil
	}
	if request.Kind == wire.PutManifest && request.Mirror != "" {
		fmt.Fprintf(out, "%s %s: denied: %s is a mirror, and nothing can be pushed to it\n", q.action, request.Repo, request.Mirror)
		return false, nil
	}
	policy := policies.NewRules(rules...)
	if q.found != nil {
		fmt.Fprintln(out, q.found)
	}
	for i, action := range actions {
		may, rule := policy.Explain(who, action, request.Repo)
		when := ""
		if q.action == pushAction {
			when = []string{" (the tag is absent)", " (the tag is there)"}[i]
		}
		target := request.Repo
		if tag != "" {
			target += ":" + tag
		}
		fmt.Fprintf(out, "%s %s%s: %s\n", action, target, when, verdict(may, rule))
		if may && !policy.Allows(who, action, request.Repo) {
			fmt.Fprintf(out, "but the key may not be used for that: %s\n", q.found.narrowed())
			may = false
		}
		if why := q.found.refused(time.Now()); may && why != "" {
			fmt.Fprintf(out, "but the key is refused: %s\n", why)
			may = false
		}
		if action == policies.Update && may {
			// A push is refused before its tag is checked.
			if create, rule := policy.Explain(who, policies.Create, request.Repo); !create {
				fmt.Fprintf(out, "but a push needs create, too: %s\n", verdict(create, rule))
				may = false
			}
		}
		if i == 0 {
			allowed = may
		}
	}
	return allowed, nil
}

// kindOf returns a request that needs the action, so that the answer for an unclaimed name is
// the same as that of the request.
func kindOf(action policies.Action) wire.Kind {
	switch action {
	case policies.Create, policies.Update:
		return wire.PutManifest
	case policies.Delete:
		return wire.DeleteManifest
	}
	return wire.Manifest
}

// verdict describes the decision and the line that made it.
func verdict(allowed bool, rule *policies.Rule) string {
	word := "denied"
	if allowed {
		word = "allowed"
	}
	switch {
	case rule == nil:
		return word + ": no rule allows it"
	case rule.Line == "":
		return fmt.Sprintf("%s by: %s", word, rule)
	}
	return fmt.Sprintf("%s by %s: %s", word, rule.Line, rule)
}
