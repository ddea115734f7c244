package caddymodule

import (
	"github.com/eblume/caddy-registry/core/mirror"
)

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
