package caddymodule_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// inFlight is a push and a pull, each half done.
type inFlight struct {
	*registrytest.Registry
	content  []byte
	digest   digest.Digest
	location string           // of the upload
	body     *io.PipeWriter   // the rest of the push goes here
	pushed   chan pushOutcome // how the chunk was answered
	pull     *http.Response
	pulled   []byte
}

type pushOutcome struct {
	response *http.Response
	err      error
}

// A blob that no socket's buffers can hold, so that half of it is half of it.
const bigBlob = 32 << 20

// begin starts a push and a pull of a large blob, and brings both to half.
func begin(r *registrytest.Registry) *inFlight {
	f := &inFlight{Registry: r, content: registrytest.RandomBytes(bigBlob), pushed: make(chan pushOutcome, 1)}
	f.digest = digest.FromBytes(f.content)
	other := registrytest.RandomBytes(bigBlob)
	path := "/v2/team/pull/blobs/" + r.PushBlob("team/pull", other).String()

	response, err := http.Get(r.Base + path)
	if err != nil {
		r.Fatal(err)
	}
	f.pull, f.pulled = response, other
	if got := slowly(r.T, response.Body, bigBlob/2); !bytes.Equal(got, other[:bigBlob/2]) {
		r.Fatal("the first half of the pull is wrong")
	}

	response, _ = r.Want(http.StatusAccepted, "POST", "/v2/team/push/blobs/uploads/", nil)
	f.location = response.Header.Get("Location")
	before := r.Metric("registry_pushed_bytes_total")
	reader, writer := io.Pipe()
	f.body = writer
	request, err := http.NewRequest("PATCH", r.Base+f.location, reader)
	if err != nil {
		r.Fatal(err)
	}
	go func() {
		response, err := http.DefaultTransport.RoundTrip(request)
		f.pushed <- pushOutcome{response, err}
	}()
	if _, err := writer.Write(f.content[:bigBlob/2]); err != nil {
		r.Fatal(err)
	}
	r.Eventually("half of the push has arrived", func() bool {
		return r.Metric("registry_pushed_bytes_total")-before >= bigBlob/2
	})
	return f
}

func TestAReloadBreaksNeitherPushNorPull(t *testing.T) {
	for _, row := range []struct {
		name string
		// elsewhere reloads with another storage: the old one must stay open until
		// nobody uses it.
		elsewhere bool
		// back reloads once more, with the old one while it is in use.
		back bool
	}{
		{"with the same storage", false, false},
		{"with another storage", true, false},
		{"with another storage and back", true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			storage, port := t.TempDir(), registrytest.FreePort(t)
			r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
			f := begin(r)

			next := storage
			if row.elsewhere {
				next = t.TempDir()
			}
			if row.back {
				registrytest.Serve(t, port, next, registrytest.AllowAll, "")
				next = storage
			}
			registrytest.Serve(t, port, next, registrytest.AllowAll+"\ngc {\ngrace 2h\n}", "header X-New yes")
			if response, _ := r.Want(http.StatusUnauthorized, "GET", "/v2/", nil); response.Header.Get("X-New") == "" {
				t.Error("the configuration before serves new connections")
			}

			rest, err := io.ReadAll(f.pull.Body)
			f.pull.Body.Close()
			if err != nil || !bytes.Equal(rest, f.pulled[bigBlob/2:]) {
				t.Errorf("the pull broke: %v", err)
			}
			if _, err := f.body.Write(f.content[bigBlob/2:]); err != nil {
				t.Errorf("the push broke: %v", err)
			}
			f.body.Close()
			outcome := <-f.pushed
			if outcome.err != nil {
				t.Fatalf("the push broke: %v", outcome.err)
			}
			outcome.response.Body.Close()
			if outcome.response.StatusCode != http.StatusAccepted {
				t.Fatalf("the push was answered %d", outcome.response.StatusCode)
			}
			if row.elsewhere && !row.back {
				registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
			}
			r.Want(http.StatusCreated, "PUT", f.location+"?digest="+f.digest.String(), nil)
			_, got := r.Want(http.StatusOK, "GET", "/v2/team/push/blobs/"+f.digest.String(), nil)
			if !bytes.Equal(got, f.content) {
				t.Error("the blob is not what was pushed")
			}
		})
	}
}

// Signals need a process of their own.
func TestTerminatedWithinTheGracePeriodAndResumed(t *testing.T) {
	storage, port := t.TempDir(), registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, storage, registrytest.AllowAll, "")
	server := registrytest.Start(t, text)
	r := registrytest.At(t, port)
	f := begin(r)
	defer f.pull.Body.Close()

	begun := time.Now()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := server.Wait()
	// The grace period is 2 s. The rest is for a machine that is busy.
	if took := time.Since(begun); err != nil || took > 30*time.Second {
		t.Fatalf("got %v after %v, want a good end within the grace period", err, took)
	}
	f.body.Close()
	<-f.pushed

	registrytest.Start(t, text)
	response, _ := r.Want(http.StatusNoContent, "GET", f.location, nil)
	_, last, _ := strings.Cut(response.Header.Get("Range"), "-")
	held, err := strconv.Atoi(last)
	if err != nil || held+1 != bigBlob/2 {
		t.Fatalf("got range %q, want all that had arrived", response.Header.Get("Range"))
	}
	r.Want(http.StatusCreated, "PUT", f.location+"?digest="+f.digest.String(), bytes.NewReader(f.content[held+1:]))
	_, got := r.Want(http.StatusOK, "GET", "/v2/team/push/blobs/"+f.digest.String(), nil)
	if !bytes.Equal(got, f.content) {
		t.Error("the blob is not what was pushed")
	}
}

func TestASecondServerIsRefused(t *testing.T) {
	storage := t.TempDir()
	first := registrytest.Start(t, registrytest.Caddyfile(registrytest.FreePort(t), storage, "", ""))
	out, err := run(t, registrytest.Caddyfile(registrytest.FreePort(t), storage, "", ""), "run",
		"--adapter", "caddyfile", "--config", "-")
	if err == nil {
		t.Fatal("a second server runs on the same storage")
	}
	for _, want := range []string{storage, strconv.Itoa(first.Process.Pid)} {
		if !strings.Contains(out, want) {
			t.Errorf("the refusal does not name %s:\n%s", want, out)
		}
	}
}

// run runs a command to its end and returns what it printed.
func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), registrytest.Patience)
	defer cancel()
	cmd := registrytest.Command(ctx, t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestTheStorageClosesWithItsLastConfiguration(t *testing.T) {
	storage, port := filepath.Join(t.TempDir(), "data"), registrytest.FreePort(t)
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "header X-New yes")
	if n := openStorages(); n != 1 {
		t.Errorf("%d storages are in use, want 1", n)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	opened, err := dir.Open(storage, dir.Config{})
	if err != nil {
		t.Fatalf("the storage is still locked: %v", err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}
