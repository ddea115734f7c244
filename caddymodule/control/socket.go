package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	// SocketName is the socket within a storage's directory.
	SocketName = "control.sock"
	// maxSocketPath is what the address of a unix socket holds, in bytes, on the
	// narrowest of the platforms (darwin: 104 with the final zero).
	maxSocketPath = 103
	// headerTimeout bounds a caller that connects and says nothing.
	headerTimeout = 10 * time.Second
)

// Socket takes commands from the user that the process runs as: its mode is 0600. A nil
// Socket takes none.
type Socket struct {
	server *http.Server
	path   string
}

// problem is the answer to a command that was not carried out.
type problem struct {
	Error string `json:"error"`
}

// Listen serves commands on the socket in the directory dir until Close. The storage's lock
// must be held: a socket that is there already is taken to be a dead process's, and replaced.
func Listen(dir string, commands http.Handler) (*Socket, error) {
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	var listener net.Listener
	err := withShortPath(path, func(short string) (err error) {
		listener, err = net.Listen("unix", short)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The listener knows the short path only, which is gone by now.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close(), os.Remove(path))
	}
	c := &Socket{
		server: &http.Server{Handler: commands, ReadHeaderTimeout: headerTimeout},
		path:   path,
	}
	go c.server.Serve(listener) // ends with Close
	return c, nil
}

// HangUp ends the commands that still run, which lose their connections, and takes no
// others.
func (c *Socket) HangUp() error {
	if c == nil {
		return nil
	}
	if err := c.server.Close(); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	return nil
}

// Close ends the socket, and the commands that still run.
func (c *Socket) Close() error {
	if c == nil {
		return nil
	}
	err := c.HangUp()
	if gone := os.Remove(c.path); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Answer answers a command with what was done, as JSON, or with err.
func Answer(w http.ResponseWriter, done any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		done = problem{err.Error()}
	}
	json.NewEncoder(w).Encode(done)
}

// withShortPath calls use with a path to the socket that fits into an address. A
// path that is too long is reached through a symbolic link to its directory, in a
// temporary directory that nobody else can enter, and that is gone afterwards: the
// socket itself stays where it belongs.
func withShortPath(path string, use func(short string) error) error {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	tmp, err := os.MkdirTemp("", "oci")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		return err
	}
	return use(filepath.Join(link, filepath.Base(path)))
}
