package main

import (
	"fmt"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// source is an upstream that has one image, sends its blobs no faster than a rate over all
// connections together, and counts requests.
type source struct {
	url   string
	image image
	rate  float64 // bytes a second; 0: no limit
	blobs map[string][]byte

	server *http.Server
	done   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	next  time.Time  // when the next byte may go
	asked asked
	// sent is not nil when the rate is that of one client, for any number of clients. For each
	// blob it has the times from which each slice may be sent to all clients.
	sent map[string][]time.Time
	hung chan struct{} // if not nil, requests are not answered until it is closed
}

// asked counts requests, and has the time when the first byte of a layer was sent.
type asked struct {
	blobs, manifests, heads int
	sent                    time.Time
}

const (
	// slice is sent at once, in bytes: connections take turns by it.
	slice = 16 << 10
	// slack is how much a source may catch up with its rate when it was woken late.
	slack = 20 * time.Millisecond
)

// newSource starts a source on loopback. Close ends it.
func newSource(rate float64, img image) (*source, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &source{url: "http://" + listener.Addr().String(), image: img, rate: rate, blobs: map[string][]byte{}}
	for i, d := range img.digests {
		s.blobs[d.String()] = img.blobs[i]
	}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve)}
	s.done.Go(func() { s.server.Serve(listener) }) // ends with close
	return s, nil
}

func (s *source) close() error {
	err := s.server.Close()
	s.done.Wait()
	return err
}

// reset returns the counts of requests, and sets them to zero.
func (s *source) reset() asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.asked
	s.asked = asked{}
	return n
}

// toEach makes the source send to every client at the full rate, which is the best that a
// mirror can do, or turns that off.
func (s *source) toEach(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = nil
	if on {
		s.sent = map[string][]time.Time{}
	}
}

// hang makes the source take requests and answer none of them, until end is called.
func (s *source) hang() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hung := make(chan struct{})
	s.hung = hung
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hung = nil
		close(hung)
	})
}

// arrive counts a request, and returns when it may be answered. It returns false if the client
// has disconnected before.
func (s *source) arrive(r *http.Request, count func(*asked)) bool {
	s.mu.Lock()
	count(&s.asked)
	hung := s.hung
	s.mu.Unlock()
	if hung == nil {
		return true
	}
	select {
	case <-hung:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (s *source) serve(w http.ResponseWriter, r *http.Request) {
	kind, name := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
	blob, known := s.blobs[name]
	switch {
	case r.URL.Path == "/v2/":
	case kind == "manifests":
		if !s.arrive(r, func(a *asked) {
			if r.Method == http.MethodHead {
				a.heads++
			} else {
				a.manifests++
			}
		}) {
			return
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Content-Length", strconv.Itoa(len(s.image.manifest)))
		w.Header().Set("Docker-Content-Digest", s.image.digest().String())
		if r.Method == http.MethodGet {
			w.Write(s.image.manifest) // the client may have disconnected
		}
	case kind == "blobs" && known:
		s.send(w, r, name, blob)
	default:
		http.NotFound(w, r)
	}
}

// send sends a blob, or its end from the offset of a Range.
func (s *source) send(w http.ResponseWriter, r *http.Request, name string, blob []byte) {
	if r.Method == http.MethodGet && !s.arrive(r, func(a *asked) { a.blobs++ }) {
		return
	}
	status, size := http.StatusOK, len(blob)
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, _, _ = strings.Cut(from, "-")
		if at, err := strconv.Atoi(from); err == nil && at < len(blob) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(blob)-1, len(blob)))
			blob, status = blob[at:], http.StatusPartialContent
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
	w.WriteHeader(status)
	if r.Method != http.MethodGet {
		return
	}
	for len(blob) > 0 {
		n := min(slice, len(blob))
		s.wait(name, (size-len(blob))/slice, n)
		if size > smallConfig {
			s.began()
		}
		if _, err := w.Write(blob[:n]); err != nil {
			return
		}
		if s.rate > 0 {
			http.NewResponseController(w).Flush()
		}
		blob = blob[n:]
	}
}

// began notes when a layer is sent first.
func (s *source) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.sent.IsZero() {
		s.asked.sent = time.Now()
	}
}

// wait returns when n bytes may go: the slice i of a blob.
func (s *source) wait(name string, i, n int) {
	if s.rate == 0 {
		return
	}
	time.Sleep(time.Until(s.when(name, i, n)))
}

func (s *source) when(name string, i, n int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent != nil && i < len(s.sent[name]) {
		return s.sent[name][i]
	}
	if earliest := time.Now().Add(-slack); s.next.Before(earliest) {
		s.next = earliest
	}
	s.next = s.next.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))
	if s.sent != nil {
		s.sent[name] = append(s.sent[name], s.next)
	}
	return s.next
}
