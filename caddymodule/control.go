package caddymodule

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
	// controlName is the socket within a storage's directory.
	controlName = "control.sock"
	// maxSocketPath is what the address of a unix socket holds, in bytes, on the
	// narrowest of the platforms (darwin: 104 with the final zero).
	maxSocketPath = 103
	// controlHeaderTimeout bounds a caller that connects and says nothing.
	controlHeaderTimeout = 10 * time.Second
)

// control is the socket on which commands reach the process that has a storage
// open. Whoever may open the socket may command: its mode is 0600.
//
//	POST /gc[?dry_run=true]    run the collector; answers a gcReport
//	POST /identity             a change or a list of keys or users: see identityOrder
//	POST /purge?name=…         forget what a mirror holds; answers a purgeReport
//	POST /verify[?repair=true][&repository=…]   answers a verify.Report
//	POST /condition[?mirror=…] answers a condition
//
// An error is a status of 400 or more, with a controlError.
type control struct {
	server *http.Server
	path   string
}

// controlError is the answer to a command that was not carried out.
type controlError struct {
	Error string `json:"error"`
}

// listenControl takes commands for s in the directory dir. The storage's lock is
// held, so a socket that is there already was left by a process that is gone.
func listenControl(dir string, s *shared) (*control, error) {
	path := filepath.Join(dir, controlName)
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
	mux := http.NewServeMux()
	mux.HandleFunc("POST /gc", s.serveGC)
	mux.HandleFunc("POST /identity", s.serveIdentity)
	mux.HandleFunc("POST /purge", s.servePurge)
	mux.HandleFunc("POST /verify", s.serveVerify)
	mux.HandleFunc("POST /condition", s.serveCondition)
	c := &control{
		server: &http.Server{Handler: mux, ReadHeaderTimeout: controlHeaderTimeout},
		path:   path,
	}
	go c.server.Serve(listener) // ends with close
	return c, nil
}

// hangUp ends the commands that still run, which lose their connections, and takes no
// others.
func (c *control) hangUp() error {
	if c == nil {
		return nil
	}
	return c.server.Close()
}

// close ends the socket, and the commands that still run.
func (c *control) close() error {
	if c == nil {
		return nil
	}
	err := c.hangUp()
	if gone := os.Remove(c.path); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// serveGC runs the collector. A caller that goes away stops it.
func (s *shared) serveGC(w http.ResponseWriter, r *http.Request) {
	dryRun := r.URL.Query().Get("dry_run") == "true"
	collected, err := s.collect(r.Context(), dryRun)
	answerCommand(w, gcReport{collected, dryRun}, err)
}

// answerCommand answers with what was done, or with why it was not.
func answerCommand(w http.ResponseWriter, done any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		done = controlError{err.Error()}
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
