package server

import (
	"context"
	"fmt"
	"testing"
)

// StopByAdmin stops the process through its admin endpoint, as `caddy-registry stop`
// does. Wait waits for the exit.
func (s *Server) StopByAdmin(ctx context.Context, t testing.TB) error {
	t.Helper()
	out, err := s.Command(ctx, t, "stop", "--config", s.config(), "--adapter", "caddyfile").CombinedOutput()
	if err != nil {
		return fmt.Errorf("stop: %w: %s", err, out)
	}
	return nil
}
