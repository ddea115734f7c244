package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
)

// examinable is what the doctor can look at beyond the storage and the mirrors. What
// is found is a sentence; what is wrong is an error that says what to do.
type examinable interface {
	Examine(ctx context.Context) (string, error)
}

// lookAtCache looks at what is kept beside the storage.
func (a *App) lookAtCache(ctx context.Context) (string, error) {
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
