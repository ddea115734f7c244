// Package caddytest knows of Caddy what only tests need to know.
package caddytest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ListenedTwice reports that two sockets listen on one address with this TCP port, as
// they do for a moment after a reload: Caddy has a socket for each configuration
// (SO_REUSEPORT), closes the older one behind the reload, and the kernel then resets the
// connections that wait on it. Where the kernel has no table of its sockets (not Linux)
// nobody can tell, and it says no.
func ListenedTwice(port int) (bool, error) {
	const (
		localAddress, state = 1, 3 // columns, see proc_net_tcp in the kernel's documentation
		listening           = "0A"
	)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		rows, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		seen := make(map[string]bool)
		for row := range strings.Lines(string(rows)) {
			column := strings.Fields(row)
			if len(column) <= state || column[state] != listening || !strings.HasSuffix(column[localAddress], fmt.Sprintf(":%04X", port)) {
				continue
			}
			if seen[column[localAddress]] {
				return true, nil
			}
			seen[column[localAddress]] = true
		}
	}
	return false, nil
}
