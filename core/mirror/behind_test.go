package mirror_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// Nothing that is answered waits for the disk: neither a manifest nor the first bytes
// of a blob. What is on its way there counts as held, and is there in the end; or, when
// the process is killed before, it is asked for once more.
func TestAnAnswerDoesNotWaitForTheDisk(t *testing.T) {
	killed := errors.New("the process was killed")
	for _, row := range []struct {
		name string
		lost error
	}{
		{"which has it in the end", nil},
		{"which never has it, when the process is killed", killed},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				end := f.full.stick()
				began := time.Now()
				for range 3 {
					m, err := f.Manifest(fetch, repo, latest)
					if err != nil || digest.FromBytes(m.Bytes) != f.image {
						t.Errorf("got %v, %v", m.Descriptor, err)
					}
					if d, err := f.Resolve(fetch, repo, core.Reference{Digest: f.image}); err != nil || d.Digest != f.image {
						t.Errorf("by digest: got %v, %v", d, err)
					}
				}
				f.saw(t, getTag)

				x := f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 10})
				var readers []core.Blob
				for range 2 {
					b, err := f.Blob(fetch, repo, f.blob)
					if err != nil {
						t.Fatal(err)
					}
					defer b.Close()
					if n, err := io.ReadFull(b, make([]byte, 10)); n != 10 || err != nil {
						t.Errorf("got %d bytes, %v, want the first 10", n, err)
					}
					readers = append(readers, b)
				}
				f.saw(t, f.getBlob())
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %s, while the disk did nothing", took)
				}
				x.Lift()

				end(row.lost)
				for _, b := range readers {
					if rest, err := io.ReadAll(b); !bytes.Equal(rest, layer[10:]) || err != nil {
						t.Errorf("got %d bytes more, %v", len(rest), err)
					}
				}
				f.restart(t)
				f.up.Forget()
				if m, err := f.Manifest(fetch, repo, latest); err != nil || digest.FromBytes(m.Bytes) != f.image {
					t.Errorf("after a restart: got %v, %v", m.Descriptor, err)
				}
				if got, err := read(f, fetch, repo, f.blob); err != nil || !bytes.Equal(got, layer) {
					t.Errorf("after a restart: got %d bytes, %v", len(got), err)
				}
				if row.lost == nil {
					f.saw(t)
				} else {
					f.saw(t, getTag, f.getBlob())
				}
			})
		})
	}
}

// An earlier digest of a tag must not be stored over a later one.
func TestWhatIsKeptLaterIsKeptInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		end := f.full.stick()
		if _, err := f.Manifest(fetch, repo, latest); err != nil {
			t.Fatal(err)
		}
		newer := append(document(len(layer)), '\n')
		want := f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, newer, "latest")
		for range 2 { // moved, then checked
			time.Sleep(mirror.DefaultTTL)
			if m, err := f.Manifest(fetch, repo, latest); err != nil || m.Descriptor.Digest != want {
				t.Errorf("got %v, %v, want %s", m.Descriptor, err, want)
			}
		}
		end(nil)
		f.restart(t)
		f.up.Forget()
		time.Sleep(mirror.DefaultTTL - 1)
		if m, err := f.Manifest(fetch, repo, latest); err != nil || m.Descriptor.Digest != want {
			t.Errorf("after a restart: got %v, %v, want %s", m.Descriptor, err, want)
		}
		f.saw(t)
		if m, err := f.Manifest(fetch, repo, core.Reference{Digest: f.image}); err != nil || m.Descriptor.Digest != f.image {
			t.Errorf("the older one: got %v, %v", m.Descriptor, err)
		}
		f.saw(t)
	})
}

// A purge, a delete or a list comes after what was answered before it.
func TestWhatRemovesWaitsForWhatIsBeingKept(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(f *fixture) error
		saw  []string // by the next read of the tag
	}{
		{"a purge", func(f *fixture) error { _, err := f.Purge(fetch, repo, core.Reference{}); return err }, []string{getTag}},
		{"a tag's deletion", func(f *fixture) error { return f.DeleteTag(fetch, repo, "latest") }, []string{getTag}},
		{"a manifest's deletion", func(f *fixture) error { return f.DeleteManifest(fetch, repo, f.image) }, []string{getTag}},
		{"a catalog", func(f *fixture) error {
			got, err := list(f.Repositories(fetch, ""))
			if err == nil && fmt.Sprint(got) != "["+repo+"]" {
				err = fmt.Errorf("it has %q", got)
			}
			return err
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, mirror.Settings{})
				end := f.full.stick()
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Fatal(err)
				}
				f.up.Forget()
				done := make(chan error, 1)
				go func() { done <- row.do(f) }()
				synctest.Wait()
				select {
				case err := <-done:
					t.Errorf("it did not wait: %v", err)
				default:
				}
				end(nil)
				if err := <-done; err != nil {
					t.Error(err)
				}
				if _, err := f.Manifest(fetch, repo, latest); err != nil {
					t.Error(err)
				}
				f.saw(t, row.saw...)
			})
		})
	}
}

// A disk that is slower than the upstream holds up answers, before memory is full of
// what it has not taken.
func TestWhatWaitsForTheDiskIsBounded(t *testing.T) {
	const bound, more = 256, 20
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		end := f.full.stick()
		var answered atomic.Int64
		var clients sync.WaitGroup
		for i := range bound + more {
			tag := fmt.Sprint("v", i)
			f.up.Manifest("library/nginx", ocispec.MediaTypeImageManifest, append(document(len(layer)), bytes.Repeat([]byte{'\n'}, i+1)...), tag)
			clients.Go(func() {
				if _, err := f.Manifest(fetch, repo, core.Reference{Tag: tag}); err != nil {
					t.Error(err)
				}
				answered.Add(1)
			})
		}
		synctest.Wait()
		if got := answered.Load(); got != bound {
			t.Errorf("%d were answered, want %d", got, bound)
		}
		end(errors.New("lost")) // nothing is written: that takes long
		clients.Wait()
	})
}

// A thousand pulls of a tag: none asks while it is fresh, one HEAD is for all of them
// when it is not, and of a silent upstream the first wait is the only one.
func TestAThousandPullsOfATag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, mirror.Settings{})
		pulls := func() (longest time.Duration) {
			var clients sync.WaitGroup
			var took [1000]time.Duration
			for i := range took {
				clients.Go(func() {
					began := time.Now()
					if _, err := f.Manifest(fetch, repo, latest); err != nil {
						t.Error(err)
					}
					took[i] = time.Since(began)
				})
			}
			clients.Wait()
			for _, d := range took {
				longest = max(longest, d)
			}
			return longest
		}
		pulls()
		f.saw(t, getTag)
		pulls()
		f.saw(t)
		time.Sleep(mirror.DefaultTTL)
		pulls()
		f.saw(t, headTag)
		f.up.Fault(upstreamtest.Fault{Hang: true})
		time.Sleep(mirror.DefaultTTL)
		if longest := pulls(); longest != 5*time.Second {
			t.Errorf("the upstream is silent: the longest pull took %s, want head_timeout", longest)
		}
		f.saw(t, headTag)
		if longest := pulls(); longest != 0 {
			t.Errorf("afterwards the longest pull took %s", longest)
		}
		f.saw(t)
	})
}
