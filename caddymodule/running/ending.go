package running

import (
	"context"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/connections"
)

// closeLimit bounds the exit after the grace period: how long it waits for requests whose
// connections were closed and for the disk. A storage takes well under a second.
const closeLimit = 15 * time.Second

// connected has the connections to all sites of the registry.
var connected connections.Set

// Watch arranges that the connections of a server are closed when the process exits and the
// grace period is over. It must be called before the server starts.
func Watch(server *caddyhttp.Server) { connected.Watch(server) }

func init() {
	// A reload may have moved the registry to another storage while requests still use the
	// previous one, which no configuration closes any more.
	caddy.OnExit(func(context.Context) {
		deadline := time.Now().Add(closeLimit)
		for _, s := range Storages() {
			endRequests(s.log)
			s.end(time.Until(deadline))
		}
	})
}

// endRequests closes the connections to all sites, which ends their requests.
func endRequests(log *slog.Logger) {
	if n := connected.Close(); n > 0 {
		log.Warn("connections closed, because the grace period is over", "connections", n)
	}
}

// end ends the commands that use the storage, and returns when the storage is closed, or after
// limit. The process is exiting, and the requests have lost their connections.
func (s *Storage) end(limit time.Duration) {
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
func (s *Storage) endCommands() {
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if err := c.HangUp(); err != nil {
		s.log.Warn("control socket was not closed", "error", err)
	}
}
