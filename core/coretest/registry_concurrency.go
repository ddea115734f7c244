package coretest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// racers is how many callers do one thing at once: the peers' races show in one
// try of twenty.
const racers = 64

// Concurrency is what the contract says of callers that do not wait for each other.
func Concurrency(t *testing.T, open Open) {
	run(t, open, []clause{
		{"of many first pushes of a tag one wins", func(t *testing.T, f *fixture) {
			const repo = "team/race"
			puts := make([]core.ManifestPut, racers)
			for i := range puts {
				puts[i] = core.ManifestPut{
					MediaType: ocispec.MediaTypeImageManifest, Bytes: imageOf(f.config(repo, fmt.Sprint("racer ", i))),
					Tags: []string{"v1"}, CreateOnly: true,
				}
			}
			errs := f.together(repo, puts)
			winner := -1
			for i, err := range errs {
				switch {
				case err != nil:
					wantError(t, "a loser", err, core.ErrTagExists)
				case winner >= 0:
					t.Errorf("racers %d and %d both won", winner, i)
				default:
					winner = i
				}
			}
			if winner < 0 {
				t.Fatal("nobody won")
			}
			desc, err := f.reg.Resolve(t.Context(), repo, tagged("v1"))
			if want := digest.FromBytes(puts[winner].Bytes); err != nil || desc.Digest != want {
				t.Errorf("the tag: got %s and error %v, want the winner's %s", desc.Digest, err, want)
			}
		}},
		{"the same first push by many succeeds for all", func(t *testing.T, f *fixture) {
			const repo = "team/retry"
			puts := make([]core.ManifestPut, racers)
			data := imageOf(f.config(repo, "same"))
			for i := range puts {
				puts[i] = core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: data, Tags: []string{"v1"}, CreateOnly: true}
			}
			if err := errors.Join(f.together(repo, puts)...); err != nil {
				t.Error(err)
			}
		}},
		{"one blob is pushed by many to many repositories", func(t *testing.T, f *fixture) {
			const data = "everybody's layer"
			var group sync.WaitGroup
			for i := range racers {
				group.Go(func() {
					if err := tryUpload(t, f.fill, fmt.Sprint("team/r", i%8), data); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			for i := range 8 {
				f.wantBlob(fmt.Sprint("team/r", i), digest.FromString(data), data)
			}
		}},
		{"a reader sees a whole image or none while it comes and goes", comeAndGo},
	})
}

// together pushes all at once and returns the errors in their order.
func (f *fixture) together(repo string, puts []core.ManifestPut) []error {
	errs := make([]error, len(puts))
	start := make(chan struct{})
	var group sync.WaitGroup
	for i, put := range puts {
		group.Go(func() {
			<-start
			_, errs[i] = f.fill.PutManifest(f.Context(), repo, put)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// tryUpload is upload for goroutines, which may not end the test.
func tryUpload(t testing.TB, reg core.Registry, repo, data string) error {
	up, err := reg.NewUpload(t.Context(), repo, digest.SHA256)
	if err != nil {
		return err
	}
	defer up.Close()
	if _, err := up.Append(t.Context(), 0, &errReader{data: []byte(data), err: io.EOF}); err != nil {
		return err
	}
	_, err = up.Commit(t.Context(), digest.FromString(data))
	return err
}

func comeAndGo(t *testing.T, f *fixture) {
	const repo, rounds = "team/flicker", 40
	m := f.image(repo, "flicker", "v1")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := f.reg.Manifest(t.Context(), repo, tagged("v1"))
				if err != nil {
					wantUnknown(t, "while it comes and goes", err, core.ErrManifestUnknown)
				} else if string(got.Bytes) != string(m.Bytes) {
					t.Errorf("while it comes and goes: got %q, want %q", got.Bytes, m.Bytes)
				}
			}
		})
	}
	for range rounds {
		if err := f.reg.DeleteManifest(t.Context(), repo, m.Descriptor.Digest); err != nil {
			t.Errorf("delete: %v", err)
		}
		f.wantNoManifest(repo, tagged("v1"))
		if _, err := f.fill.PutManifest(t.Context(), repo, core.ManifestPut{
			MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: []string{"v1"},
		}); err != nil {
			t.Errorf("put: %v", err)
		}
		f.wantManifest(repo, tagged("v1"), m)
	}
	close(stop)
	readers.Wait()
}
