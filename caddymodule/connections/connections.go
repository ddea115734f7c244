// Package connections knows the open connections of the servers that serve a registry, so
// that the end of the process can close them.
//
// Caddy waits for requests until its grace period is over, and then exits while they still
// run. A request that waits for a slow client would keep the storage open until the process
// is gone, and the next start would have to check all of it. Closing its connection ends such
// a request at once, with everything that it had sent or received so far.
//
//	var open connections.Set
//	open.Watch(server) // when the handler is provisioned
//	open.Close()       // when the process exits and the grace period is over
//
// HTTP/3 is not covered: Caddy itself closes those connections after the grace period.
package connections

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Set is the open connections of the watched servers. The zero value is empty and ready.
type Set struct {
	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

// Watch adds the connections that server will accept. It must be called before the server
// starts.
func (s *Set) Watch(server *caddyhttp.Server) {
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		s.add(conn)
		return ctx
	})
	server.RegisterConnState(func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			s.remove(conn)
		}
	})
}

// Close closes every connection, and those that are accepted from now on. It returns how
// many were open.
func (s *Set) Close() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	n := len(s.open)
	for conn := range s.open {
		go conn.Close() // TLS waits for a peer that reads nothing, five seconds at most
	}
	s.open = nil
	return n
}

func (s *Set) add(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		go conn.Close()
		return
	}
	if s.open == nil {
		s.open = map[net.Conn]struct{}{}
	}
	s.open[conn] = struct{}{}
}

func (s *Set) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}
