// Package floods sends the built binary the requests that cost it the most memory for the least
// work, and reads the peak from the process: VmHWM, which no sampling can miss.
//
// Each flood has its own server, so that a peak has one cause. In `make test` a flood is just
// large enough to detect a server without the bound; REGISTRY_SLOW sends all of it.
package floods

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	// mostMemory is what a server with cache memory 32MiB may have resident in any
	// flood, in bytes, beside what it has read of its index files.
	mostMemory = 200 << 20
	// patience bounds each flood: the machine may be busy, and a server without bounds would
	// never finish.
	patience = 4 * time.Minute
)

// count is small in make test and full with REGISTRY_SLOW.
func count(small, full int) int {
	if os.Getenv("REGISTRY_SLOW") != "" {
		return full
	}
	return small
}

// flood is a server with a small cache, and the requests that were sent to it.
type flood struct {
	*server.Server
	t     *testing.T
	ctx   context.Context
	begun int64 // mapped, at the start
}

// start runs a server whose block oci has more options. Anonymous callers may read and
// fetch, the group ci may create, too.
func start(t *testing.T, data, options string) *flood {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	f := &flood{Server: server.Start(t, server.Options{Data: data, Caddyfile: fmt.Sprintf(`{
	persist_config off
	grace_period 1s
	oci {
		storage file {$REGISTRY_DATA}
		cache memory 32MiB
		policy {
			allow anonymous read fetch
			allow group ci read fetch create
			allow group admins *
		}
%s
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, options)}), t: t, ctx: ctx}
	f.begun = f.mapped()
	return f
}

// ci is a client with a create-only key.
func (f *flood) ci() *client.Client {
	f.t.Helper()
	secret, _ := f.Key(f.t, "ci", "ci")
	c := client.New(f.URL).Login("ci", secret)
	f.t.Cleanup(c.Close)
	return c
}

// anonymous is a client without credentials.
func (f *flood) anonymous() *client.Client {
	c := client.New(f.URL)
	f.t.Cleanup(c.Close)
	return c
}

// bounded ends a flood: the server still answers, and took no more memory than it may.
func (f *flood) bounded() {
	f.t.Helper()
	if _, err := f.ask(f.anonymous(), http.MethodGet, "/v2/_catalog?n=1", "", nil); err != nil {
		f.t.Errorf("after the flood: %v", err)
	}
	peak, err := f.PeakMemory()
	if err != nil {
		f.t.Fatal(err)
	}
	mapped := f.mapped() - f.begun
	f.t.Logf("peak memory %d MiB, beside %d of mapped files", (peak-mapped)>>20, mapped>>20)
	if peak-mapped > mostMemory {
		f.t.Errorf("peak memory %d MiB, want at most %d", (peak-mapped)>>20, mostMemory>>20)
	}
}

// mapped is how many bytes of files are resident. Those of the index files grow with the content, and the
// kernel takes them back when it needs the memory.
func (f *flood) mapped() int64 {
	f.t.Helper()
	bytes, err := f.MappedMemory()
	if err != nil {
		f.t.Fatal(err)
	}
	return bytes
}

// ask sends a request and reads the whole answer. It returns the status, whatever it is.
func (f *flood) ask(c *client.Client, method, path, mediaType string, body []byte) (status int, err error) {
	header := http.Header{}
	if mediaType != "" {
		header.Set("Content-Type", mediaType)
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	response, err := c.Request(f.ctx, method, path, header, content, http.StatusOK)
	var refused *client.StatusError
	switch {
	case errors.As(err, &refused):
		return refused.Status, nil
	case err != nil:
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// together calls work for 0 to n-1, at most width at once, and fails the test with the
// first error.
func (f *flood) together(n, width int, work func(i int) error) {
	f.t.Helper()
	next := make(chan int)
	errs := make(chan error, n)
	var workers sync.WaitGroup
	for range width {
		workers.Go(func() {
			for i := range next {
				errs <- work(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// repeat is prefix, then item as often as fits into size bytes, separated by commas, and
// suffix.
func repeat(size int, prefix, item, suffix string) []byte {
	return repeatN((size-len(prefix)-len(suffix)+1)/(len(item)+1), prefix, item, suffix)
}

// repeatN is prefix, then item n times, separated by commas, and suffix.
func repeatN(n int, prefix, item, suffix string) []byte {
	content := bytes.Repeat([]byte(item+","), n)
	return slices.Concat([]byte(prefix), content[:len(content)-1], []byte(suffix))
}
