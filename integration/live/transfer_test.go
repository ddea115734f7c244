package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

const (
	// startLimit bounds a start or its refusal.
	startLimit = 60 * time.Second
	// inFlight is the size of the blobs that are half sent and half read, in bytes:
	// more than the sockets' buffers hold, so that neither end can finish early.
	inFlight = 32 << 20
)

// transfers are a push and a pull that have stopped in the middle.
type transfers struct {
	client   *client.Client
	content  []byte
	location string
	gate     *io.PipeWriter
	sent     chan result
	pull     *http.Response
	pulled   bytes.Buffer
}

type result struct {
	location string
	err      error
}

const repo = "team/slow"

// begin starts both and returns when the server has half of the push and the client
// the first bytes of the pull.
func begin(t *testing.T, s *server.Server) *transfers {
	t.Helper()
	x := &transfers{client: client.New(s.URL), sent: make(chan result, 1)}
	t.Cleanup(x.client.Close)
	x.content = client.NewImage(uint64(s.Port), 1, inFlight).Blobs[1]

	held := client.NewImage(uint64(s.Port)+1, 1, inFlight).Blobs[1]
	d, err := x.client.PushBlob(t.Context(), repo, held)
	if err != nil {
		t.Fatal(err)
	}
	x.pull, err = x.client.Request(t.Context(), http.MethodGet, "/v2/"+repo+"/blobs/"+d.String(), nil, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.pull.Body.Close() })
	if _, err := io.CopyN(&x.pulled, x.pull.Body, 1<<20); err != nil {
		t.Fatal(err)
	}

	if x.location, err = x.client.StartUpload(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	body, gate := io.Pipe()
	x.gate = gate
	go func() {
		next, err := x.client.AppendUpload(context.WithoutCancel(t.Context()), x.location, 0, -1, body)
		x.sent <- result{next, err}
	}()
	if _, err := gate.Write(x.content[:inFlight/2]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gate.CloseWithError(io.ErrUnexpectedEOF) })
	return x
}

// finishPull reads the rest and verifies the whole.
func (x *transfers) finishPull() error {
	_, err := io.Copy(&x.pulled, x.pull.Body)
	if err != nil {
		return fmt.Errorf("pull after %d bytes: %w", x.pulled.Len(), err)
	}
	want := digest.Digest(x.pull.Header.Get("Docker-Content-Digest"))
	if got := digest.FromBytes(x.pulled.Bytes()); got != want {
		return fmt.Errorf("pulled %s, want %s", got, want)
	}
	return nil
}

// finishPush sends the rest and ends the upload.
func (x *transfers) finishPush(ctx context.Context) error {
	if _, err := x.gate.Write(x.content[inFlight/2:]); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := x.gate.Close(); err != nil {
		return err
	}
	sent := <-x.sent
	if sent.err != nil {
		return fmt.Errorf("push: %w", sent.err)
	}
	return x.client.FinishUpload(ctx, sent.location, digest.FromBytes(x.content), nil)
}

// resume requests the upload's offset, sends the missing bytes, and reads the blob back.
func (x *transfers) resume(ctx context.Context) error {
	offset, err := x.client.UploadOffset(ctx, x.location)
	if err != nil {
		return err
	}
	if offset < 1 || offset > inFlight/2 {
		return fmt.Errorf("upload is at %d, want within (0, %d]", offset, inFlight/2)
	}
	rest := x.content[offset:]
	next, err := x.client.AppendUpload(ctx, x.location, offset, int64(len(rest)), bytes.NewReader(rest))
	if err != nil {
		return err
	}
	d := digest.FromBytes(x.content)
	if err := x.client.FinishUpload(ctx, next, d, nil); err != nil {
		return err
	}
	_, err = x.client.Blob(ctx, repo, d)
	return err
}

func TestReloadBreaksNeitherPushNorPull(t *testing.T) {
	s := server.Start(t, server.Options{})
	x := begin(t, s)
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	if err := x.finishPull(); err != nil {
		t.Error(err)
	}
	if err := x.finishPush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReloadWithOtherSettingsIsTaken(t *testing.T) {
	s := server.Start(t, server.Options{})
	x := begin(t, s)
	if err := s.Configure(readOnly); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	fresh := client.New(s.URL)
	defer fresh.Close()
	var refused *client.StatusError
	if _, err := fresh.StartUpload(t.Context(), repo); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		t.Errorf("push begun after a reload that took the right away: got %v, want status 401", err)
	}
	// Transfers that began before the reload were allowed then.
	if err := x.finishPull(); err != nil {
		t.Error(err)
	}
}

// readOnly allows no writes.
const readOnly = `{
	oci {
		storage file {$REGISTRY_DATA}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	oci_registry
}
`

func TestKillLeavesAnUploadThatResumes(t *testing.T) {
	s := server.Start(t, server.Options{})
	x := begin(t, s)
	s.Kill()
	server.Start(t, server.Options{Data: s.Data, Port: s.Port})
	x.client.Close()
	if err := x.resume(t.Context()); err != nil {
		t.Errorf("resume after the kill: %v", err)
	}
}
