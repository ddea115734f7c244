package mirror

import (
	"io"
	"net"
	"sync"
	"testing"
)

// gate is the way to an upstream, which can be closed. It forwards connections.
type gate struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	silent bool
	conns  []net.Conn
	tried  int // connections since the way was closed
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: listener, target: target}
	g.running.Go(g.serve)
	t.Cleanup(func() {
		g.refuse()
		g.running.Wait()
	})
	return g
}

func (g *gate) url() string { return "http://" + g.listener.Addr().String() }

func (g *gate) serve() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.running.Go(func() { g.forward(conn) })
	}
}

func (g *gate) forward(conn net.Conn) {
	g.mu.Lock()
	g.conns = append(g.conns, conn)
	silent := g.silent
	if silent {
		g.tried++
	}
	g.mu.Unlock()
	if silent {
		return // accepted, and never answered
	}
	defer conn.Close()
	to, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer to.Close()
	g.running.Go(func() {
		io.Copy(to, conn) // ends with either connection
		to.Close()
	})
	io.Copy(conn, to)
}

// hang makes the upstream a black hole: it accepts connections and never answers.
func (g *gate) hang() {
	g.mu.Lock()
	g.silent = true
	g.mu.Unlock()
	g.drop()
}

// refuse makes the upstream refuse connections.
func (g *gate) refuse() {
	g.listener.Close()
	g.drop()
}

// drop ends the connections that there are.
func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.conns {
		conn.Close()
	}
	g.conns = nil
}

// attempts is how often a silent upstream was tried, since the last call.
func (g *gate) attempts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.tried
	g.tried = 0
	return n
}
