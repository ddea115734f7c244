package caddymodule

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/connections"
)

const (
	// defaultGrace is how long requests may run on when the process exits and the
	// configuration sets no grace_period, for which Caddy would wait forever: service
	// managers kill after 10 seconds (Docker), 20 (launchd), 30 (Kubernetes) or 90
	// (systemd), and a storage that was killed is checked by the next start.
	defaultGrace = 10 * time.Second
	// closeLimit bounds the exit after that: how long it waits for requests whose
	// connections were closed and for the disk. A storage takes well under a second.
	closeLimit = 15 * time.Second
)

// connected has the connections to all sites of the registry.
var connected connections.Set

func init() {
	// A reload may have moved the registry to another storage while requests still use
	// the one before, which no configuration closes any more.
	caddy.OnExit(func(context.Context) {
		deadline := time.Now().Add(closeLimit)
		storages.Range(func(_, value any) bool {
			s := value.(*shared)
			endRequests(s.log)
			s.end(time.Until(deadline))
			return true
		})
	})
}

// watchConnections has the connections of the handler's server closed when the process
// exits, and returns the server; nil: there is none.
func watchConnections(ctx caddy.Context) *caddyhttp.Server {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok {
		connected.Watch(server)
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

// endRequests closes the connections to all sites, which ends their requests.
func endRequests(log *slog.Logger) {
	if n := connected.Close(); n > 0 {
		log.Warn("connections closed, because the grace period is over", "connections", n)
	}
}

// end has the commands that use the storage end, and returns when the storage is closed,
// or after limit. The process exits, and the requests have lost their connections.
func (s *shared) end(limit time.Duration) {
	go s.endCommands()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		storages.CompareAndDelete(s.storage.Key(), s)
		s.log.Error("storage was not closed cleanly: requests or the disk did not finish in time; the next start checks it",
			"storage", s.storage.Key(), "waited", limit)
	}
}

// endCommands closes the connections of commands that run.
func (s *shared) endCommands() {
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if err := c.HangUp(); err != nil {
		s.log.Warn("control socket was not closed", "error", err)
	}
}
