package dir_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// open returns a bucket that trusts every pending file.
func open(t testing.TB, config dir.Config) (*dir.Storage, *dir.Bucket) {
	t.Helper()
	if config.Verify == nil {
		config.Verify = func(string, io.Reader) error { return nil }
	}
	storage, err := dir.Open(t.TempDir(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := storage.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	return storage, b
}

// image does what the push of an image of three small layers does in a bucket.
func image(ctx context.Context, b bucket.Bucket, n uint64) error {
	var named []string
	for i := range 4 {
		hex := fmt.Sprintf("%02x/%064x", (n*4+uint64(i))*37%256, n*4+uint64(i))
		u, err := b.NewUpload(ctx)
		if err != nil {
			return err
		}
		if _, err := u.Append(ctx, bytes.NewReader(make([]byte, 2048))); err != nil {
			return err
		}
		blob, link := "blobs/sha256/"+hex, "blobs/sha256/"+hex+"+team+app"
		if _, err := u.Commit(ctx, blob, ""); err != nil {
			return err
		}
		u.Close()
		if _, err := b.Put(ctx, link, nil, absent); err != nil {
			return err
		}
		named = append(named, blob, link)
	}
	if err := bucket.Sync(ctx, b, named...); err != nil {
		return err
	}
	hex := fmt.Sprintf("%02x/%064x", n*41%256, 1<<60+n)
	manifest, holds := "blobs/sha256/"+hex, "manifests/sha256/"+hex+"+team+app"
	if _, err := b.Put(ctx, manifest, make([]byte, 700), absent); err != nil {
		return err
	}
	if _, err := b.Put(ctx, holds, nil, absent); err != nil {
		return err
	}
	if err := bucket.Sync(ctx, b, manifest, holds); err != nil {
		return err
	}
	tag := fmt.Sprintf("repos/team/app/_tags/v%d", n)
	if _, err := b.Put(ctx, tag, make([]byte, 120), absent); err != nil {
		return err
	}
	return bucket.Sync(ctx, b, tag)
}

func BenchmarkImage(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			storage, bucket := open(b, dir.Config{})
			parallel(b, clients, func(n uint64) error { return image(b.Context(), bucket, n) })
			report(b, storage, "images/s")
		})
	}
}

func BenchmarkPutSync(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			storage, bucket := open(b, dir.Config{})
			data := make([]byte, 200)
			parallel(b, clients, func(n uint64) error {
				key := fmt.Sprintf("repos/r%d/_tags/t%d", n%7, n)
				if _, err := bucket.Put(b.Context(), key, data, absent); err != nil {
					return err
				}
				return bucket.Sync(b.Context(), key)
			})
			report(b, storage, "puts/s")
		})
	}
}

func BenchmarkUploadSync(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			storage, bucket := open(b, dir.Config{})
			data := make([]byte, 4096)
			parallel(b, clients, func(n uint64) error {
				key := fmt.Sprintf("blobs/sha256/%02x/%064x", n%256, n)
				u, err := bucket.NewUpload(b.Context())
				if err != nil {
					return err
				}
				defer u.Close()
				if _, err := u.Append(b.Context(), bytes.NewReader(data)); err != nil {
					return err
				}
				if _, err := u.Commit(b.Context(), key, ""); err != nil {
					return err
				}
				return bucket.Sync(b.Context(), key)
			})
			report(b, storage, "uploads/s")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	_, bucket := open(b, dir.Config{})
	key := fmt.Sprintf("blobs/sha256/ab/%064x", 1)
	if _, err := bucket.Put(b.Context(), key, make([]byte, 1000), absent); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		o, err := bucket.Open(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		o.Close()
	}
}

// parallel runs b.N pieces of work on some goroutines.
func parallel(b *testing.B, goroutines int, do func(n uint64) error) {
	var next atomic.Uint64
	done := make(chan error)
	b.ResetTimer()
	for range goroutines {
		go func() {
			for {
				n := next.Add(1)
				if n > uint64(b.N) {
					done <- nil
					return
				}
				if err := do(n); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range goroutines {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
}

func report(b *testing.B, s *dir.Storage, unit string) {
	stats := s.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
	b.ReportMetric(float64(stats.DataSyncs)/float64(b.N), "datasyncs/op")
	b.ReportMetric(float64(stats.DirSyncs)/float64(b.N), "dirsyncs/op")
}

var absent = bucket.Condition{IfAbsent: true}
