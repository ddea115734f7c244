package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// lazyShare is the share of a layer that a lazy client reads until a container has started.
	lazyShare = 0.064
	// lazyPieces are in how many ranges it reads that, beside the footer and the table of
	// contents before it, which are at the end.
	lazyPieces = 16
	lazyFooter = 64 << 10
	lazyTable  = 1 << 20
	// farUpstream is the rate of an upstream on each connection, in bytes a second.
	farUpstream = 64e6
)

// mirrorFar measures a client that reads a part of a cold layer, its end first, beside one that
// reads it directly from the upstream, and beside one that reads all of it.
func (b *bench) mirrorFar() error {
	s, err := newFarSource(b.size.far)
	if err != nil {
		return err
	}
	defer s.close()
	direct := s.url + "/v2/" + pulledRepo
	var whole, lazily, lazy []time.Duration
	var gets []int
	for range b.rounds {
		took, err := timedPull(func() error { return s.readAll(b.ctx, direct) })
		if err != nil {
			return err
		}
		whole = append(whole, took)
		if took, err = timedPull(func() error { return s.readLazily(b.ctx, direct) }); err != nil {
			return err
		}
		lazily = append(lazily, took)
		s.reset()
		server, err := b.mirrorOf(&source{url: s.url}, "")
		if err != nil {
			return err
		}
		took, err = timedPull(func() error { return s.readLazily(b.ctx, server.url()+"/v2/docker.io/"+pulledRepo) })
		if err := errors.Join(err, b.stopAll()); err != nil {
			return err
		}
		lazy, gets = append(lazy, took), append(gets, s.reset())
	}
	all := middle(whole)
	row := func(name string, took time.Duration, gets string) []string {
		return []string{name, fmt.Sprintf("%.2f s", took.Seconds()), ratio(float64(took), float64(all)), gets}
	}
	b.table(fmt.Sprintf("%.1f %% of a cold layer of %d MiB, its end first, from an upstream of %.0f MB/s a connection",
		100*lazyShare, s.size>>20, farUpstream/1e6),
		[]string{"", "time", "of all of it", "GETs upstream"},
		[][]string{
			row("caddy-registry", middle(lazy), fmt.Sprint(middle(gets))),
			row("direct pull", middle(lazily), fmt.Sprint(lazyPieces+2)),
			row("direct pull of all of it", all, "1"),
		})
	return nil
}

func timedPull(pull func() error) (time.Duration, error) {
	begun := time.Now()
	err := pull()
	return time.Since(begun), err
}

// farSource is an upstream of one large layer that takes no memory. It knows ranges.
type farSource struct {
	url    string
	size   int64
	digest digest.Digest
	period []byte // the layer repeats it
	server *http.Server
	done   sync.WaitGroup

	mu   sync.Mutex // guards gets
	gets int
}

// newFarSource starts it on loopback. close ends it.
func newFarSource(size int64) (*farSource, error) {
	s := &farSource{size: size, period: make([]byte, 1<<20+1)}
	_, _ = rand.NewChaCha8([32]byte{6}).Read(s.period)
	var err error
	if s.digest, err = digest.FromReader(s.part(0, size)); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + listener.Addr().String()
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve)}
	s.done.Go(func() { s.server.Serve(listener) }) // ends with close
	return s, nil
}

func (s *farSource) close() {
	s.server.Close()
	s.done.Wait()
}

// reset returns the number of requests for the layer, and sets it to zero.
func (s *farSource) reset() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.gets
	s.gets = 0
	return n
}

// ReadAt reads the layer. It implements io.ReaderAt but for the end.
func (s *farSource) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], s.period[(at+int64(n))%int64(len(s.period)):])
	}
	return n, nil
}

func (s *farSource) part(start, end int64) *io.SectionReader {
	return io.NewSectionReader(s, start, end-start)
}

func (s *farSource) serve(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, s.digest.String()) {
		if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
		}
		return
	}
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&paced{ResponseWriter: w}, r, "", time.Time{}, s.part(0, s.size))
}

// paced is an answer that is sent at the rate of a connection.
type paced struct {
	http.ResponseWriter
	next time.Time
}

func (p *paced) Write(data []byte) (sum int, err error) {
	for len(data) > 0 {
		n := min(slice, len(data))
		if earliest := time.Now().Add(-slack); p.next.Before(earliest) {
			p.next = earliest
		}
		p.next = p.next.Add(time.Duration(float64(n) / farUpstream * float64(time.Second)))
		time.Sleep(time.Until(p.next))
		m, err := p.ResponseWriter.Write(data[:n])
		sum += m
		if err != nil {
			return sum, err
		}
		data = data[n:]
	}
	return sum, nil
}

// readAll reads the layer in order.
func (s *farSource) readAll(ctx context.Context, repo string) error {
	return s.read(ctx, repo, 0, s.size)
}

// readLazily reads the footer, the table of contents, and then parts of the files in order.
func (s *farSource) readLazily(ctx context.Context, repo string) error {
	footer := s.size - lazyFooter
	table := footer - min(lazyTable, s.size/100)
	if err := errors.Join(s.read(ctx, repo, footer, s.size), s.read(ctx, repo, table, footer)); err != nil {
		return err
	}
	length := (int64(lazyShare*float64(s.size)) - (s.size - table)) / lazyPieces
	for i := range int64(lazyPieces) {
		start := i * (table - length) / (lazyPieces - 1)
		if err := s.read(ctx, repo, start, start+length); err != nil {
			return err
		}
	}
	return nil
}

// read reads a part of the layer and compares it.
func (s *farSource) read(ctx context.Context, repo string, start, end int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, repo+"/blobs/"+s.digest.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, end-1))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("bytes %d-%d: %s", start, end-1, response.Status)
	}
	got, want := make([]byte, pullBuffer), make([]byte, pullBuffer)
	for at := start; at < end; {
		n, err := io.ReadFull(response.Body, got[:min(pullBuffer, end-at)])
		if err != nil {
			return fmt.Errorf("bytes %d-%d: %w", start, end-1, err)
		}
		_, _ = s.ReadAt(want[:n], at)
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("bytes %d-%d: received other bytes", start, end-1)
		}
		at += int64(n)
	}
	return nil
}

// middle is the median of one or more values.
func middle[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
