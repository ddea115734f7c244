package upstream

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// machine dials from this machine. Like net.Dialer it prefers the one of IPv4 and
// IPv6 that answers first.
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
