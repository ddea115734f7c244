package registrytest

import (
	"net"
	"sync"
	"testing"
)

// FreePort returns a TCP port of the loopback interface that nobody listens on. No other call
// returns it.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
	t.Fatal("the kernel offers only ports that other tests were given")
	return 0
}

// givenPorts are the ports that FreePort has returned. The kernel may offer one again before
// its test listens there.
var givenPorts sync.Map
