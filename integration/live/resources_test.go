package live

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

// mostMemory is the limit for a server's resident memory, in bytes, for any size of the blob.
const mostMemory = 150 << 20

// The size is 1 GiB, and 10 GiB in `make test-all`: a server that keeps content in
// memory passes neither.
func TestMemoryStaysBoundedForALargeBlob(t *testing.T) {
	size := int64(1 << 30)
	if os.Getenv("REGISTRY_SLOW") != "" {
		size *= 10
	}
	s := server.Start(t, server.Options{})
	c := client.New(s.URL)
	defer c.Close()

	location, err := c.StartUpload(t.Context(), "team/large")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	began := time.Now()
	next, err := c.AppendUpload(t.Context(), location, 0, -1, io.TeeReader(noise(size), sum))
	if err != nil {
		t.Fatal(err)
	}
	d := digest.NewDigest(digest.SHA256, sum)
	if err := c.FinishUpload(t.Context(), next, d, nil); err != nil {
		t.Fatal(err)
	}
	pushed := time.Since(began)

	response, err := c.Request(t.Context(), http.MethodGet, "/v2/team/large/blobs/"+d.String(), nil, nil, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	began = time.Now()
	sum.Reset()
	n, err := io.Copy(sum, response.Body)
	if err != nil || n != size || hex.EncodeToString(sum.Sum(nil)) != d.Encoded() {
		t.Errorf("pulled %d bytes, error %v; want %d bytes of %s", n, err, size, d)
	}
	pulled := time.Since(began)

	peak, err := s.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB: pushed in %s, pulled in %s, peak memory %d MiB", size>>20,
		pushed.Round(time.Millisecond), pulled.Round(time.Millisecond), peak>>20)
	if peak > mostMemory {
		t.Errorf("peak memory %d MiB, want at most %d", peak>>20, mostMemory>>20)
	}
}

// noise is size bytes, a multiple of a mebibyte, in which no two mebibytes are alike.
// One of them is made anew and the others differ by their number: generating all of
// it would take longer than sending it.
func noise(size int64) io.Reader {
	block := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(block) // never fails
	blocks := make([]io.Reader, 0, size>>20)
	for i := range size >> 20 {
		number := []byte(fmt.Sprintf("%08d", i))
		blocks = append(blocks, io.MultiReader(bytes.NewReader(number), bytes.NewReader(block[8:])))
	}
	return io.MultiReader(blocks...)
}

// A blob's bytes go from the page cache to the socket by sendfile: copied through the process
// they cost twice the CPU. The count of calls does not depend on the machine. Stored content of
// a mirror is sent in the same way as pushed content.
func TestBlobIsSentByTheKernel(t *testing.T) {
	const size = 64 << 20
	blob := client.NewImage(7, 1, size).Blobs[1]
	d := digest.FromBytes(blob)
	hub := upstreamtest.New(t, upstreamtest.Config{})
	hub.Blob("library/app", blob)
	s := mirror.Start(t, mirror.Options{OCI: mirror.Block("docker.io", hub)})
	c := client.New(s.URL)
	defer c.Close()
	for _, row := range []struct {
		name, repo string
		hold       func(repo string) error // stores the blob
	}{
		{"pushed", "team/app", func(repo string) error {
			_, err := c.PushBlob(t.Context(), repo, blob)
			return err
		}},
		{"of a mirror", "docker.io/library/app", func(repo string) error {
			_, err := c.Blob(t.Context(), repo, d)
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.hold(row.repo); err != nil {
				t.Fatal(err)
			}
			sentByTheKernel(t, s, size, func() error {
				_, err := c.Blob(t.Context(), row.repo, d)
				return err
			})
		})
	}
}

// sentByTheKernel counts what a pull of size bytes makes the server do.
func sentByTheKernel(t *testing.T, s *server.Server, size int64, pull func() error) {
	t.Helper()
	strace := server.Tool(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-p", strconv.Itoa(s.PID()),
		"-e", "trace=sendfile,splice,read,pread64,write", "-e", "signal=none", "-s", "0", "-o", trace)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// strace reports when it has attached.
	if line, err := bufio.NewReader(stderr).ReadString('\n'); err != nil || !strings.Contains(line, "attached") {
		t.Fatalf("strace did not attach: %q, %v", line, err)
	}
	if err := pull(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // its status is the signal's

	calls, moved := count(t, trace)
	t.Logf("%d MiB: calls %v, bytes %v", size>>20, calls, moved)
	// net/http sends the first bytes of a body with the header.
	const first = 4 << 10
	if moved["sendfile"] < size-first {
		t.Errorf("sendfile moved %d bytes, want at least %d", moved["sendfile"], size-first)
	}
	const most = 64 << 10 // request, headers, logs
	if copied := moved["read"] + moved["pread64"] + moved["write"]; copied > most {
		t.Errorf("%d bytes went through the process, want at most %d", copied, most)
	}
}

// count sums the calls of a trace and their return values. A call that strace shows
// in two lines has its result in the second.
func count(t *testing.T, trace string) (calls map[string]int, moved map[string]int64) {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls, moved = map[string]int{}, map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		_, call, _ := strings.Cut(lines.Text(), " ")
		call = strings.TrimPrefix(strings.TrimSpace(call), "<... ")
		name := call[:max(0, strings.IndexAny(call+"(", "( "))]
		_, value, found := strings.Cut(call, " = ")
		if !found {
			continue
		}
		calls[name]++
		value, _, _ = strings.Cut(value, " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
			moved[name] += n
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls, moved
}
