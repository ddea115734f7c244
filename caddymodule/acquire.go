package caddymodule

import (
	"context"
	"fmt"

	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
)

// joined is everything that canonical names reach, over the trees that it was made of.
type joined struct {
	trees *running.Trees
	union *namespace.Union
}

// acquire returns the registry, with its storage open until a.storage.Release is
// called. Errors: core.ErrUnavailable.
func (a *App) acquire(ctx context.Context) (*namespace.Union, error) {
	trees, err := a.storage.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if j := a.joined.Load(); j != nil && j.trees == trees {
		return j.union, nil
	}
	union, err := a.join()
	if err != nil {
		a.storage.Release()
		return nil, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	a.joined.Store(&joined{trees, union})
	return union, nil
}

// join opens the mirrors and puts everything under its names.
func (a *App) join() (*namespace.Union, error) {
	specs, err := a.specs()
	if err != nil {
		return nil, err
	}
	return a.storage.Join(a.site.Owner, specs)
}
