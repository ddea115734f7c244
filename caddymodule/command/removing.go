package command

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/core"
)

const (
	// indexWait is how long rm waits for a registry that does not know yet what goes with an image,
	// because it has just been started or opened.
	indexWait = time.Minute
	// indexStep is the time between two looks.
	indexStep = 200 * time.Millisecond
)

// removal is one run of rm.
type removal struct {
	shows
	repo                string
	ref                 core.Reference
	image, dryRun, asks bool
}

func rmCommand(where *location) *cobra.Command {
	var r removal
	cmd := &cobra.Command{
		Use:   "rm [--image] [--dry-run] [--yes] <repository>:<tag>|<repository>@<digest> [--json] [--server <address>]",
		Short: "Removes a tag, or deletes an image",
		Long: `
Removes a tag; the image stays, and can be pulled by its digest and its other tags. With
--image, or by digest, it deletes the image with all of its tags, and what belongs to it:
the images of its platforms, and signatures, SBOMs and whatever else refers to one of
these or is attached to it by a tag. Parts that a tag or another image keeps stay. It
prints what went. With --dry-run it prints what would go, and removes nothing. Of a mirror
it removes what is held; the next pull asks the upstream again.` + asksFirst + remotely,
		Example: `  caddy-registry registry rm team/app:v1
  caddy-registry registry rm --image --dry-run team/app:v1
  caddy-registry registry rm --image --yes team/app:v1`,
	}
	r.flags(cmd)
	yes := yesFlag(cmd)
	cmd.Flags().BoolVar(&r.image, "image", false, "delete the image that the tag names, with all of its tags and what belongs to it")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "only print what would go")
	cmd.Args = r.one(where, func(text string) (err error) {
		if r.repo, r.ref, err = control.ParseTarget(text); err == nil && r.ref == (core.Reference{}) {
			err = fmt.Errorf("%s names a repository; rm takes a tag or a digest", text)
		}
		return err
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r.asks = !r.dryRun && asksOnTerminal(cmd, *yes)
		return r.run(cmd, where, func(ctx context.Context, c *catalog) error {
			if r.image || r.ref.Digest != "" {
				return r.removeImage(ctx, cmd, c)
			}
			return r.removeTag(ctx, cmd, c)
		})
	}
	return cmd
}

// removeTag removes a tag alone.
func (r *removal) removeTag(ctx context.Context, cmd *cobra.Command, c *catalog) error {
	if r.asks || r.dryRun {
		seen := new(api.ImageAnswer)
		body, err := c.ask(ctx, http.MethodGet, pathOf(r.repo, r.ref), nil, seen)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("the tag %s:%s", r.repo, r.ref.Tag)
		if r.dryRun {
			r.printed(cmd, body, func(p *printer) { p.row(fmt.Sprintf("would remove %s; the image %s stays", name, seen.Tag.Digest)) })
			return nil
		}
		if err := ask(cmd, fmt.Sprintf("Remove %s? The image %s stays.", name, short(seen.Tag.Digest))); err != nil {
			return err
		}
	}
	return r.remove(ctx, cmd, c, nil)
}

// removeImage deletes an image with what belongs to it.
func (r *removal) removeImage(ctx context.Context, cmd *cobra.Command, c *catalog) error {
	if r.ref.Tag != "" {
		seen := new(api.ImageAnswer)
		if _, err := c.ask(ctx, http.MethodGet, pathOf(r.repo, r.ref), nil, seen); err != nil {
			return err
		}
		if seen.Image == nil {
			return fmt.Errorf("%s:%s names an image that is not held; remove the tag without --image", r.repo, r.ref.Tag)
		}
		r.ref = core.Reference{Digest: seen.Image.Digest}
	}
	if err := c.whole(ctx); err != nil {
		return err
	}
	plan := new(api.PlanAnswer)
	body, err := c.ask(ctx, http.MethodGet, pathOf(r.repo, r.ref)+"/-/deletion", nil, plan)
	if err != nil {
		return err
	}
	if r.dryRun {
		r.printed(cmd, body, func(p *printer) { p.plan(plan) })
		return nil
	}
	if r.asks {
		p := newPrinter(cmd.ErrOrStderr())
		p.plan(plan)
		p.flush()
		if err := ask(cmd, fmt.Sprintf("Delete the image %s@%s?", r.repo, r.ref.Digest)); err != nil {
			return err
		}
	}
	return r.remove(ctx, cmd, c, url.Values{"plan": {plan.Key}})
}

// remove sends the deletion, and prints what went.
func (r *removal) remove(ctx context.Context, cmd *cobra.Command, c *catalog, query url.Values) error {
	answer := new(api.Deleted)
	body, err := c.ask(ctx, http.MethodDelete, pathOf(r.repo, r.ref), query, answer)
	if err == nil {
		r.printed(cmd, body, func(p *printer) { p.deleted(answer.Deleted) })
	}
	return err
}

// whole waits until the registry knows what goes with an image. If that takes too long, the registry
// says so in its answer.
func (c *catalog) whole(ctx context.Context) error {
	for begun := time.Now(); ; {
		state := new(api.State)
		if _, err := c.ask(ctx, http.MethodGet, "/api/state", nil, state); err != nil || state.Whole || time.Since(begun) >= indexWait {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(indexStep):
		}
	}
}
