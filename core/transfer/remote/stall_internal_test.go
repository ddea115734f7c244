package remote

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// hesitant answers every request for content with the same bytes, and waits before each of them.
type hesitant struct {
	content []byte
	waits   []time.Duration // the last one is that of all further bytes
}

func (h hesitant) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: http.NoBody, ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.URL.Path != "/v2/" {
		answer.Body = &slowly{hesitant: h, ctx: r.Context()}
	}
	return answer, nil
}

type slowly struct {
	hesitant
	ctx context.Context
	at  int
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.at == len(s.content) {
		return 0, io.EOF
	}
	select {
	case <-time.After(s.waits[min(s.at, len(s.waits)-1)]):
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
	s.at++
	return copy(p, s.content[s.at-1:s.at]), nil
}

func (s *slowly) Close() error { return nil }

// A registry that stops in the middle of an answer ends that answer and nothing else; one that
// is slow does not.
func TestAnAnswerThatStalls(t *testing.T) {
	content := []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(content)
	const forever = 365 * 24 * time.Hour
	for _, row := range []struct {
		name  string
		waits []time.Duration
		pause time.Duration // of the reader, before each read
		took  time.Duration // until a stall was found; 0: there is none
	}{
		{"at once", []time.Duration{0}, 0, 0},
		{"slow, but never silent", []time.Duration{stallLimit - time.Second}, 0, 0},
		{"a reader that takes its time", []time.Duration{time.Second}, 10 * stallLimit, 0},
		{"silent from the first byte on", []time.Duration{forever}, 0, stallLimit},
		{"silent in the middle", []time.Duration{time.Second, time.Second, forever}, 0, 2*time.Second + stallLimit},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := over(Config{Host: "registry.example.org"}, hesitant{content, row.waits})
				if err != nil {
					t.Fatal(err)
				}
				blob, _, err := r.Blob(t.Context(), "team/app", d)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				got, err := read(blob, row.pause)
				if closed := blob.Close(); closed != nil {
					t.Error(closed)
				}
				check := func(what string, got []byte, err error) {
					t.Helper()
					switch {
					case row.took == 0 && (err != nil || !bytes.Equal(got, content)):
						t.Errorf("%s: got %q and %v", what, got, err)
					case row.took > 0 && (err == nil || !strings.Contains(err.Error(), "registry.example.org sent nothing for 1m0s")):
						t.Errorf("%s: got %v, want an error about the silence", what, err)
					case row.took > 0 && time.Since(begun) != row.took:
						t.Errorf("%s: it took %s, want %s", what, time.Since(begun), row.took)
					}
				}
				check("a blob", got, err)
				begun = time.Now()
				manifest, err := r.Manifest(t.Context(), "team/app", d)
				check("a manifest", manifest, err)
			})
		})
	}
}

// read reads everything, with a pause before each read.
func read(from io.Reader, pause time.Duration) (all []byte, err error) {
	for {
		time.Sleep(pause)
		var some [64]byte
		n, err := from.Read(some[:])
		if all = append(all, some[:n]...); err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
	}
}

// The caller's own end is not taken for a stall.
func TestACallerThatEndsIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := over(Config{Host: "registry.example.org"}, hesitant{[]byte("x"), []time.Duration{time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		blob, _, err := r.Blob(ctx, "team/app", digest.FromString("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer blob.Close()
		if _, err := read(blob, 0); err == nil || strings.Contains(err.Error(), "sent nothing") {
			t.Errorf("got %v, want the end of the caller", err)
		}
	})
}
