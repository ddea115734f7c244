package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/cache"
	"github.com/eblume/caddy-registry/core/mirror"
)

// provisionCache makes the guest module that the configuration asks for.
func (a *App) provisionCache(ctx caddy.Context) error {
	if a.CacheRaw == nil {
		memory := new(cache.Memory)
		a.cache = memory
		return memory.Provision(ctx)
	}
	module, err := ctx.LoadModule(a, "CacheRaw")
	if err != nil {
		return err
	}
	cache, ok := module.(cache.Module)
	if !ok {
		return fmt.Errorf("%T is not a cache", module)
	}
	a.cache = cache
	return nil
}

// unmarshalCache reads the option cache, whose name was consumed.
func (a *App) unmarshalCache(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "oci.cache."+name)
	if err != nil {
		return err
	}
	cache, ok := module.(cache.Module)
	if !ok {
		return d.Errf("module oci.cache.%s is not a cache", name)
	}
	a.CacheRaw = caddyconfig.JSONModuleObject(cache, "module", name, nil)
	return nil
}

// openCache opens what is shared, while the storage is open.
func (a *App) openCache() (mirror.Shared, error) {
	trees, err := a.storage.Acquire(a.life)
	if err != nil {
		return nil, err
	}
	defer a.storage.Release()
	shared, done, err := a.cache.Open(func() ([]byte, error) { return trees.CacheSecret(a.life) }, a.log)
	a.closeCache = done
	return shared, err
}

// examinable is a cache that the doctor can look at. What
// is found is a sentence; what is wrong is an error that says what to do.
type examinable interface {
	Examine(ctx context.Context) (string, error)
}

// examineCache looks at what is kept beside the storage, for the doctor.
func (a *App) examineCache(ctx context.Context) (string, error) {
	life, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	if err := a.provisionCache(life); err != nil {
		return "", err
	}
	if cache, ok := a.cache.(examinable); ok {
		return cache.Examine(ctx)
	}
	return "it says nothing of itself", nil
}
