package running

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// patience bounds every wait. It is long because the machine may be busy.
const patience = time.Minute

// named is a storage in a new directory as a configuration has named it, and its log.
func named(t *testing.T) (s *Storage, kept *storage.File, said *bytes.Buffer) {
	t.Helper()
	kept = &storage.File{Path: t.TempDir()}
	if err := kept.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	said = new(bytes.Buffer)
	return storageOf(kept, slog.New(slog.NewTextHandler(said, nil))), kept, said
}

// A request that does not end, as on a disk that hangs, must not keep the process.
func TestTheExitIsBounded(t *testing.T) {
	s, kept, said := named(t)
	if _, err := s.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.leave()
	s.end(time.Millisecond)
	if !strings.Contains(said.String(), "storage was not closed cleanly") || !strings.Contains(said.String(), kept.Path) {
		t.Errorf("got log %q, want that the storage was not closed", said.String())
	}
	if len(Storages()) > 0 {
		t.Error("a later step of the exit waits for the storage again")
	}
	s.Release()
	s.end(patience) // returns at once now
	if s.trees != nil {
		t.Error("the storage is open after its last request")
	}
}

func TestTheExitEndsCommands(t *testing.T) {
	s, kept, _ := named(t)
	defer s.leave()
	if _, err := s.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	conn, err := net.Dial("unix", filepath.Join(kept.Path, control.SocketName))
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
	s.endCommands()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(answer); err == nil || n > 0 || strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %d bytes and %v, want the connection closed", n, err)
	}
}

// Apps start in no order: a request may come before the storage can be opened. It is
// refused, those that follow do not queue behind the disk, and a later one finds the storage.
func TestRequestsBeforeTheStorageOpens(t *testing.T) {
	s, kept, _ := named(t)
	defer s.leave()
	other, err := dir.Open(kept.Path, dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, first := s.Acquire(t.Context())
	if !errors.Is(first, core.ErrUnavailable) || !errors.Is(first, dir.ErrInUse) {
		t.Fatalf("while another process has it: got %v", first)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, again := s.Acquire(t.Context()); again == nil || again.Error() != first.Error() {
		t.Errorf("at once after that: got %v, want %v", again, first)
	}
	s.failedAt = s.failedAt.Add(-retryOpen)
	if _, err := s.Acquire(t.Context()); err != nil {
		t.Fatalf("later: %v", err)
	}
	s.Release()
}
