package upstream

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// machine dials from this machine. It keeps net.Dialer's preference for whichever
// of IPv4 and IPv6 answers first.
func machine(ctx context.Context, address string, control func(netip.AddrPort) error) (net.Conn, error) {
	d := net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return control(addr)
	}}
	return d.DialContext(ctx, "tcp", address)
}
