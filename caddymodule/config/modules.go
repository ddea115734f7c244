package config

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/caddymodule/cache"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// Storage makes the guest module of the storage. It opens nothing.
func (r *Registry) Storage(ctx caddy.Context) (storage.Module, error) {
	if r.StorageRaw == nil {
		storage := new(storage.File)
		return storage, storage.Provision(ctx)
	}
	module, err := ctx.LoadModule(r, "StorageRaw")
	if err != nil {
		return nil, err
	}
	storage, ok := module.(storage.Module)
	if !ok {
		return nil, fmt.Errorf("%T is not a storage", module)
	}
	return storage, nil
}

// Cache makes the guest module of the cache: memory, if the configuration names none.
func (r *Registry) Cache(ctx caddy.Context) (cache.Module, error) {
	if r.CacheRaw == nil {
		memory := new(cache.Memory)
		return memory, memory.Provision(ctx)
	}
	module, err := ctx.LoadModule(r, "CacheRaw")
	if err != nil {
		return nil, err
	}
	cache, ok := module.(cache.Module)
	if !ok {
		return nil, fmt.Errorf("%T is not a cache", module)
	}
	return cache, nil
}

// examinable is a cache that the doctor can examine. It returns a sentence with the findings,
// or an error with a remedy.
type examinable interface {
	Examine(ctx context.Context) (string, error)
}

// ExamineCache examines the cache for the doctor.
func (r *Registry) ExamineCache(ctx context.Context) (string, error) {
	life, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	module, err := r.Cache(life)
	if err != nil {
		return "", err
	}
	if module, ok := module.(examinable); ok {
		return module.Examine(ctx)
	}
	return "this cache module has no self-check", nil
}

// Authenticators makes the guest modules that verify credentials, in the order in which they
// are tried.
func (r *Registry) Authenticators(ctx caddy.Context) ([]identity.Authenticator, error) {
	if r.AuthenticatorsRaw == nil {
		return nil, nil
	}
	modules, err := ctx.LoadModule(r, "AuthenticatorsRaw")
	if err != nil {
		return nil, err
	}
	return authenticators.Join(modules.([]any))
}
