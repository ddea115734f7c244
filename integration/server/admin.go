package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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

// maxAdmin bounds an answer of the admin endpoint, in bytes.
const maxAdmin = 64 << 20

// Admin returns what the admin endpoint answers to a GET of path, such as
// /debug/pprof/goroutine?debug=1. Each call has a connection of its own.
func (s *Server) Admin(ctx context.Context, path string) ([]byte, error) {
	socket, ok := strings.CutPrefix(s.admin, "unix/")
	if !ok {
		return nil, fmt.Errorf("GET %s: the server has no admin endpoint", path)
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAdmin))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %s", path, response.StatusCode, data)
	}
	return data, err
}
