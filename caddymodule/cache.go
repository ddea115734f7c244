package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/eblume/caddy-registry/caddymodule/cache"
	"github.com/eblume/caddy-registry/core/bucket"
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
	trees, err := a.shared.acquire(a.life)
	if err != nil {
		return nil, err
	}
	defer a.shared.release()
	shared, done, err := a.cache.Open(func() ([]byte, error) { return cacheSecret(a.life, trees.identity) }, a.log)
	a.closeCache = done
	return shared, err
}

// cacheSecretKey is where the storage has its own secret for shared entries.
const cacheSecretKey = "cache/secret"

// cacheSecret reads the storage's secret, or makes it. One that a power cut takes
// costs what was shared, which can be learned again, so nobody waits for the disk.
func cacheSecret(ctx context.Context, b bucket.Bucket) ([]byte, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	_, err := b.Put(ctx, cacheSecretKey, secret, bucket.Condition{IfAbsent: true})
	if errors.Is(err, bucket.ErrExist) {
		secret, _, err = b.Get(ctx, cacheSecretKey)
	}
	return secret, err
}

// cacheLink is what all mirrors of a storage share with: what the configuration says
// that was started last.
type cacheLink struct{ to atomic.Pointer[mirror.Shared] }

func (l *cacheLink) set(shared mirror.Shared) {
	if shared == nil {
		l.to.Store(nil)
		return
	}
	l.to.Store(&shared)
}

func (l *cacheLink) Get(ctx context.Context, key string) ([]byte, bool) {
	if to := l.to.Load(); to != nil {
		return (*to).Get(ctx, key)
	}
	return nil, false
}

func (l *cacheLink) Put(ctx context.Context, key string, value []byte, age time.Duration) {
	if to := l.to.Load(); to != nil {
		(*to).Put(ctx, key, value, age)
	}
}

func (l *cacheLink) Delete(ctx context.Context, key string) {
	if to := l.to.Load(); to != nil {
		(*to).Delete(ctx, key)
	}
}

var _ mirror.Shared = (*cacheLink)(nil)
