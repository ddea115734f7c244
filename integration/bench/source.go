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

// source is an upstream that has one image, sends its blobs no faster than a rate
// over all connections together, and counts how often it was asked for them.
type source struct {
	url   string
	image image
	rate  float64 // bytes a second; 0: no limit
	blobs map[string][]byte

	server *http.Server
	done   sync.WaitGroup

	mu   sync.Mutex // guards what follows
	next time.Time  // when the next byte may go
	gets int
}

const (
	// slice is sent at once, in bytes: connections take turns by it.
	slice = 16 << 10
	// slack is how much of its rate a source may make up for when it was woken late.
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

// reset returns how many GETs of blobs there were, and counts from nothing.
func (s *source) reset() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.gets
	s.gets = 0
	return n
}

func (s *source) serve(w http.ResponseWriter, r *http.Request) {
	kind, name := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
	blob, known := s.blobs[name]
	switch {
	case r.URL.Path == "/v2/":
	case kind == "manifests":
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Content-Length", strconv.Itoa(len(s.image.manifest)))
		w.Header().Set("Docker-Content-Digest", s.image.digest().String())
		if r.Method == http.MethodGet {
			w.Write(s.image.manifest) // who asked may have gone
		}
	case kind == "blobs" && known:
		s.send(w, r, blob)
	default:
		http.NotFound(w, r)
	}
}

// send sends a blob, or its end from the offset of a Range.
func (s *source) send(w http.ResponseWriter, r *http.Request, blob []byte) {
	status := http.StatusOK
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
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	for len(blob) > 0 {
		n := min(slice, len(blob))
		s.wait(n)
		if _, err := w.Write(blob[:n]); err != nil {
			return
		}
		if s.rate > 0 {
			http.NewResponseController(w).Flush()
		}
		blob = blob[n:]
	}
}

// wait returns when n bytes may go.
func (s *source) wait(n int) {
	if s.rate == 0 {
		return
	}
	s.mu.Lock()
	if earliest := time.Now().Add(-slack); s.next.Before(earliest) {
		s.next = earliest
	}
	s.next = s.next.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))
	at := s.next
	s.mu.Unlock()
	time.Sleep(time.Until(at))
}
