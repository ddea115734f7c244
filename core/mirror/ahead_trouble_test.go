package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// A second URL of the upstream sends the range that the first one does not.
func TestAFarRangeComesFromAnotherURL(t *testing.T) {
	u := &far{size: 40 * mib, rest: make(chan struct{}), held: 64 << 10}
	u.part = func(w http.ResponseWriter, _ *http.Request, _, _ int64) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	second := &far{size: u.size}
	f := startFar(t, u, second)
	if err := f.readPart(fetch, u.d, 20*mib, 22*mib); err != nil {
		t.Fatal(err)
	}
	if got, _ := second.saw(); !slices.Equal(got, []string{fmt.Sprintf("bytes=%d-%d", 20*mib, 22*mib-1)}) {
		t.Errorf("the second URL was asked for %q", got)
	}
	close(u.rest)
	if err := f.readPart(fetch, u.d, 0, u.size); err != nil {
		t.Error(err)
	}
}

// After a restart a far range is fetched ahead of what was left, and the upstream sends nothing
// twice.
func TestAFarRangeOfAResumedDownload(t *testing.T) {
	u := &far{size: 40 * mib, rest: make(chan struct{}), held: 9 * mib}
	f := startFar(t, u)
	b, err := f.Blob(fetch, repo, u.d)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(b, 0, 9*mib-1); err != nil {
		t.Fatal(err)
	}
	f.stop()
	b.Close()
	release := make(chan struct{})
	u.resumed = func(r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	f.open(t, f.settings)
	if err := f.readPart(fetch, u.d, 30*mib, 32*mib); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := f.readPart(fetch, u.d, 0, u.size); err != nil {
		t.Fatal(err)
	}
	got, sent := u.saw()
	want := []string{
		"", fmt.Sprintf("bytes=%d-", 9*mib),
		fmt.Sprintf("bytes=%d-%d", 30*mib, 32*mib-1), fmt.Sprintf("bytes=%d-", 32*mib),
	}
	if !slices.Equal(got, want) {
		t.Errorf("the upstream was asked for %q, want %q", got, want)
	}
	if most := u.size + 4*mib; sent > most { // in flight on connections that were given up
		t.Errorf("the upstream sent %d bytes, want at most %d", sent, most)
	}
}

// Wrong bytes of a range are found out by the download that goes on from them, too: the blob is
// downloaded in order then.
func TestAResumedDownloadMistrustsRanges(t *testing.T) {
	const start, end = 16 * mib, 18 * mib
	u := &far{size: 24 * mib, rest: make(chan struct{}), held: 64 << 10}
	u.part = func(w http.ResponseWriter, _ *http.Request, start, end int64) bool {
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, u.size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, end-start))
		return true
	}
	resumed := make(chan struct{})
	var again atomic.Bool
	u.resumed = func(r *http.Request) {
		if !again.Swap(true) {
			close(resumed)
			<-r.Context().Done()
		}
	}
	f := startFar(t, u)
	wrong := func(from, to int64) error {
		b, err := f.part(fetch, u.d, from, to)
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = io.CopyN(io.Discard, b, to-from)
		return err
	}
	if err := wrong(start, end); err != nil {
		t.Fatal(err)
	}
	close(u.rest)
	<-resumed // behind the range, whose bytes the upload has
	f.restart(t)
	if err := wrong(0, u.size); !errors.Is(err, core.ErrUpstream) {
		t.Errorf("got %v, want that the digest is wrong", err)
	}
	before, _ := u.saw()
	if err := f.readPart(fetch, u.d, start, end); err != nil {
		t.Error(err)
	}
	if got, _ := u.saw(); !slices.Equal(got[len(before):], []string{""}) {
		t.Errorf("the upstream was asked for %q, want the blob in order", got[len(before):])
	}
}

// Neither an eviction nor a disk that is full in the middle takes bytes from the readers.
func TestAFarRangeOutlivesWhatIsNotKept(t *testing.T) {
	for _, row := range []struct {
		name string
		then func(f *fixture) error
	}{
		{"the repository is evicted", func(f *fixture) error {
			_, err := f.Purge(context.Background(), repo, core.Reference{})
			return err
		}},
		{"mirrors may take no more of the disk", func(f *fixture) error {
			f.keeper.(*keeper).room = func(int64) bool { return false }
			return nil
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := &far{size: 40 * mib, rest: make(chan struct{}), held: 64 << 10}
			f := startFar(t, u)
			f.keeper = &keeper{room: func(int64) bool { return true }}
			f.restart(t)
			b, err := f.part(fetch, u.d, 20*mib, 24*mib)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := compare(b, 20*mib, 22*mib); err != nil {
				t.Fatal(err)
			}
			if err := row.then(f); err != nil {
				t.Fatal(err)
			}
			close(u.rest)
			if err := f.readPart(fetch, u.d, 0, u.size); err != nil {
				t.Error(err)
			}
			if err := compare(b, 22*mib, 24*mib); err != nil {
				t.Error(err)
			}
		})
	}
}

// badScratch is a bucket whose scratch files cannot be read.
type badScratch struct{ bucket.ScratchFile }

func (badScratch) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

// A scratch file that cannot be read costs time, and no reader anything else.
func TestAFarRangeThatCannotBeReadWaits(t *testing.T) {
	u := &far{size: 24 * mib, rest: make(chan struct{}), held: 64 << 10}
	f := startFar(t, u)
	f.full.mu.Lock()
	f.full.badScratch = true
	f.full.mu.Unlock()
	ctx, stop := context.WithTimeout(fetch, 30*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.readPart(ctx, u.d, 20*mib, 22*mib) }()
	for range 2 {
		<-u.asked
	}
	close(u.rest)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := f.readPart(ctx, u.d, 0, u.size); err != nil {
		t.Error(err)
	}
	if got := strings.Count(f.log.String(), "level=WARN"); got > 1 {
		t.Errorf("got %d warnings, want one:\n%s", got, f.log.String())
	}
}
