package caddymodule

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// A request that does not end, as on a disk that hangs, must not keep the process.
func TestTheExitIsBounded(t *testing.T) {
	kept := &storage.File{Path: t.TempDir()}
	if err := kept.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := sharedOf(kept, slog.New(slog.NewTextHandler(&said, nil)))
	if _, err := s.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.leave()
	s.end(time.Millisecond)
	if !strings.Contains(said.String(), "storage was not closed cleanly") || !strings.Contains(said.String(), kept.Path) {
		t.Errorf("got log %q, want that the storage was not closed", said.String())
	}
	if _, waited := storages.Load(kept.Key()); waited {
		t.Error("a later step of the exit waits for the storage again")
	}
	s.release()
	s.end(patience) // returns at once now
	if s.trees != nil {
		t.Error("the storage is open after its last request")
	}
}

func TestTheExitEndsCommands(t *testing.T) {
	storage := t.TempDir()
	load(t, site(freePort(t), storage, allowAll, ""))
	conn, err := net.Dial("unix", filepath.Join(storage, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server has the connection once it has read this.
	if _, err := conn.Write([]byte("POST /nothing HTTP/1.1\r\nHost: control\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<10)
	if n, err := conn.Read(answer); err != nil || !bytes.Contains(answer[:n], []byte("404")) {
		t.Fatalf("got %q, %v", answer[:n], err)
	}
	sharedAt(t, storage).endCommands()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(answer); err == nil || n > 0 || strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %d bytes and %v, want the connection closed", n, err)
	}
}
