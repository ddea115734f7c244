package command

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/demo"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/sites"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
)

const (
	// demoLifetime is how long the key of a demo lasts if it cannot be revoked.
	demoLifetime = 10 * time.Minute
	// revokeLimit bounds the revocation, also when the command was interrupted.
	revokeLimit = 10 * time.Second
)

func demoCommand(where *location) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "demo [--to <host:port>]",
		Short: "Pushes a tiny image to the running registry, and shows how to pull it",
		Long: `
Makes a tiny image and pushes it to the running registry as demo/hello:v1, or under a
pattern of private. It needs no internet. It prints the reference, the digest, and
commands that pull the image on this machine.

The push uses an API key of the service account demo, with a group to which the policy
gives create. The key has no other rights, and is revoked after the push. If the tag
exists already, nothing is pushed.`,
		Example: `  caddy-registry registry demo
  caddy-registry registry demo --to registry.example.com`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&to, "to", "", "the host, and the port, to push to (default: a site of the configuration)")
	completeFlag(cmd, "to")
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return fmt.Errorf("demo takes no argument, but there is %q", args[0])
		case where.storage != "":
			return errors.New("demo reads the sites and the policy of a configuration; use --config instead of --storage")
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := where.planDemo(to)
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		named, there, err := where.pushDemo(commandContext(cmd), plan, func(text string) { warn(cmd, text) })
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		printDemo(cmd.OutOrStdout(), plan, named, there)
		return nil
	}
	return cmd
}

// planDemo reads from the configuration the place of the image and the groups of the key.
func (l *location) planDemo(to string) (*demo.Plan, error) {
	app, found, err := l.appAndSites()
	if err != nil {
		return nil, err
	}
	plan, err := demo.Target(found, to, sites.MachineName(sites.Named(app.URL)))
	if err != nil {
		return nil, err
	}
	site, err := app.Site()
	if err != nil {
		return nil, err
	}
	rules, err := app.Rules(site)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	plan.Rights, err = demo.Choose(rules, app.Private, func(name string) error {
		request, err := namespace.Resolve(wire.Request{Kind: wire.PutManifest, Name: name, Repo: name}, site)
		if request.Mirror != "" {
			return fmt.Errorf("%s is a mirror, and nothing can be pushed to it", request.Mirror)
		}
		return err
	})
	if plan.PrivateCA {
		plan.Roots = withLocalAuthority()
	}
	return plan, err
}

// withLocalAuthority returns the system's certificate authorities and, if this user may read
// it, Caddy's own.
func withLocalAuthority() *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if root, err := os.ReadFile(filepath.Join(caddy.AppDataDir(), "pki", "authorities", "local", "root.crt")); err == nil {
		roots.AppendCertsFromPEM(root)
	}
	return roots
}

// pushDemo pushes with a key that lasts as long as the push. The running process makes it,
// and must be the one that answers at the address.
func (l *location) pushDemo(ctx context.Context, plan *demo.Plan, warn func(string)) (named digest.Digest, there bool, err error) {
	r, err := l.find()
	if err != nil {
		return "", false, err
	}
	want := &identity.NewKey{
		User: demo.User, Name: demo.Label, Service: true, Groups: plan.Groups,
		Actions: demo.Actions(), Globs: []string{plan.Repository}, Lifetime: min(demoLifetime, r.keys.Lifetime),
	}
	var made control.IdentityReport
	err = whileStarting(ctx, func() error {
		return control.Ask(ctx, r.local, "/identity", control.IdentityOrder{CreateKey: want}, &made)
	})
	if errors.Is(err, control.ErrNobodyListens) {
		return "", false, fmt.Errorf("no registry runs on the storage %s; start it first: caddy-registry run --config %s", r.local, l.name)
	}
	if err != nil {
		return "", false, fmt.Errorf("make a key: %w", err)
	}
	id := made.Keys[0].ID
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeLimit)
		defer cancel()
		revoke := control.IdentityOrder{RevokeKey: id}
		if err := control.Ask(ctx, r.local, "/identity", revoke, new(control.IdentityReport)); err != nil {
			until := made.Keys[0].Expires.Format(time.TimeOnly)
			warn(fmt.Sprintf("the key %s was not revoked and is valid until %s: %v", id, until, err))
		}
	}()
	switch seen := instance.LookOnce(ctx, plan.Dial, plan.Base, made.Instance); {
	case seen.Nobody:
		return "", false, fmt.Errorf("no process listens on %s; does the running registry have this configuration? `caddy-registry reload` loads it", plan.Dial)
	case seen.Other > 0:
		return "", false, fmt.Errorf("another registry process answers on %s than the one that has the storage %s", plan.Dial, r.local)
	}
	return plan.Push(ctx, made.Secret)
}

// printDemo prints what was pushed and how to pull it.
func printDemo(w io.Writer, plan *demo.Plan, named digest.Digest, there bool) {
	if there {
		fmt.Fprintf(w, "%s is there already; nothing was pushed\n", plan.Reference())
	} else {
		fmt.Fprintf(w, "pushed %s\n", plan.Reference())
	}
	fmt.Fprintf(w, "digest %s\n\nPull it on this machine with one of:\n", named)
	for _, command := range plan.Commands() {
		fmt.Fprintf(w, "  %s\n", command)
	}
	for _, note := range plan.Notes() {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}
