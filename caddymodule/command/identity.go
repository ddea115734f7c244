package command

import (
	"context"
	"errors"
	"log/slog"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
)

// order executes an order in the running process, or on the storage itself.
func (l *location) order(ctx context.Context, order control.IdentityOrder) (report control.IdentityReport, err error) {
	if ctx == nil { // cobra has none by default
		ctx = context.Background()
	}
	registry, err := l.find()
	if err != nil {
		return report, err
	}
	err = whileStarting(ctx, func() error {
		err := control.Ask(ctx, registry.local, "/identity", order, &report)
		if errors.Is(err, control.ErrNobodyListens) {
			report, err = registry.order(ctx, order)
		}
		return err
	})
	return report, err
}

func (r *registry) order(ctx context.Context, order control.IdentityOrder) (report control.IdentityReport, err error) {
	opened, err := r.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return running.CarryOut(ctx, opened, r.keys, r.admins, order)
}
