package upstreamtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Network is a network in memory, for tests in a synctest bubble, where a socket
// would stop the fake clock. Its Dial is an upstream.Dialer.
type Network struct {
	mu    sync.Mutex // guards hosts
	hosts map[string]*host
}

type host struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	// addrs are what its name resolves to, one for each dial; the last one stays.
	addrs  []netip.Addr
	refuse bool
	hole   bool
}

// NewNetwork returns a network without hosts.
func NewNetwork() *Network {
	return &Network{hosts: make(map[string]*host)}
}

// Listen adds a host, as "registry.test:80", whose name resolves to addr.
func (n *Network) Listen(address string, addr netip.Addr) net.Listener {
	h := &host{conns: make(chan net.Conn), done: make(chan struct{}), addrs: []netip.Addr{addr}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[address] = h
	return &listener{h, address}
}

// Resolve makes a host's name resolve to addrs, one after the other with each dial.
func (n *Network) Resolve(address string, addrs ...netip.Addr) {
	n.with(address, func(h *host) { h.addrs = addrs })
}

// Refuse makes a host refuse connections, or take them again.
func (n *Network) Refuse(address string, on bool) {
	n.with(address, func(h *host) { h.refuse = on })
}

// BlackHole makes a host never answer a connection, or answer again.
func (n *Network) BlackHole(address string, on bool) {
	n.with(address, func(h *host) { h.hole = on })
}

func (n *Network) with(address string, f func(*host)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.hosts[address])
}

// Dial connects to a host. An unknown one has no DNS entry.
func (n *Network) Dial(ctx context.Context, address string, control func(netip.AddrPort) error) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[address]
	if h == nil {
		n.mu.Unlock()
		return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
	}
	addr, refuse, hole := h.addrs[0], h.refuse, h.hole
	if len(h.addrs) > 1 {
		h.addrs = h.addrs[1:]
	}
	n.mu.Unlock()
	if err := control(netip.AddrPortFrom(addr, 80)); err != nil {
		return nil, err
	}
	switch {
	case refuse:
		return nil, syscall.ECONNREFUSED
	case hole:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	select {
	case h.conns <- server:
		return &socket{Conn: client}, nil
	case <-h.done:
	case <-ctx.Done():
	}
	client.Close()
	server.Close()
	return nil, errors.Join(syscall.ECONNREFUSED, ctx.Err())
}

// socket is the client's end of a connection. As a kernel does, it takes what the other
// end, which has closed, reads no more: the client learns that from its next read. A pipe
// alone would fail a request of which the server had read a byte before it closed, and
// net/http does not repeat such a request.
type socket struct {
	net.Conn
	closed atomic.Bool
}

func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if errors.Is(err, io.ErrClosedPipe) && !s.closed.Load() {
		return len(p), nil
	}
	return n, err
}

func (s *socket) Close() error {
	s.closed.Store(true)
	return s.Conn.Close()
}

type listener struct {
	*host
	address string
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return name(l.address) }

type name string

func (n name) Network() string { return "memory" }
func (n name) String() string  { return string(n) }
