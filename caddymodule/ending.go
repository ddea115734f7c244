package caddymodule

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/running"
)

const (
	// defaultGrace is how long requests may run on when the process exits and the
	// configuration sets no grace_period, for which Caddy would wait forever: service
	// managers kill after 10 seconds (Docker), 20 (launchd), 30 (Kubernetes) or 90
	// (systemd), and a storage that was killed is checked by the next start.
	defaultGrace = 10 * time.Second
)

// watchConnections has the connections of the handler's server closed when the process
// exits, and returns the server; nil: there is none.
func watchConnections(ctx caddy.Context) *caddyhttp.Server {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok {
		running.Watch(server)
	}
	return server
}

// exitGrace gives Caddy a grace period when the process exits and the configuration sets
// none. It handles the event "stopping", which comes before any app is stopped. A reload
// stops the apps of the configuration before, too, and ends no request.
type exitGrace struct {
	life caddy.Context
	log  *slog.Logger
}

// Handle implements caddyevents.Handler.
func (g exitGrace) Handle(context.Context, caddy.Event) error {
	if !caddy.Exiting() {
		return nil
	}
	app, err := g.life.AppIfConfigured("http")
	if err != nil {
		return nil // nothing is served
	}
	if server, ok := app.(*caddyhttp.App); ok && server.GracePeriod <= 0 {
		server.GracePeriod = caddy.Duration(defaultGrace)
		g.log.Info("grace period set, because the configuration sets none", "grace_period", defaultGrace)
	}
	return nil
}
