package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// peakLimit is the limit for the server's peak memory, in bytes: bodies are streamed. It does
// not depend on the speed of the machine, so a run that exceeds it fails.
const peakLimit = 150 << 20

// stream reads as size bytes that do not compress or repeat within a block.
func stream(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{4}), size)
}

// large pushes and pulls a blob that must not fit in memory.
func (b *bench) large() error {
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	s, err := b.registry(data)
	if err != nil {
		return err
	}
	if err := s.answers(b.ctx, s.url()+"/v2/_catalog?n=1"); err != nil {
		return err
	}
	idle, err := s.peak()
	if err != nil {
		return err
	}
	d, err := digest.FromReader(stream(b.size.large))
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := pushBlob(b.ctx, s.url(), "team/large", d, stream(b.size.large), b.size.large); err != nil {
		return err
	}
	pushed := time.Since(begun)
	begun = time.Now()
	if err := pull(b.ctx, s.url()+"/v2/team/large/blobs/"+d.String(), d, b.size.large); err != nil {
		return err
	}
	pulled := time.Since(begun)
	peak, err := s.peak()
	if err != nil {
		return err
	}
	b.table(fmt.Sprintf("A blob of %d MiB, pushed in one request and pulled with its digest verified", b.size.large>>20),
		[]string{"push", "pull", "peak memory (VmHWM)", "peak memory before"},
		[][]string{{
			fmt.Sprintf("%.0f s", pushed.Seconds()), fmt.Sprintf("%.0f s", pulled.Seconds()),
			fmt.Sprintf("%d MiB", peak>>20), fmt.Sprintf("%d MiB", idle>>20),
		}})
	if peak > peakLimit {
		return fmt.Errorf("the server had %d MiB of memory, and may have %d", peak>>20, peakLimit>>20)
	}
	return nil
}

// pull reads a blob and compares its digest.
func pull(ctx context.Context, url string, d digest.Digest, size int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(hash, response.Body, make([]byte, readBuffer))
	if err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, hash); got != d || n != size {
		return fmt.Errorf("GET %s: %s, %d bytes with digest %s", url, response.Status, n, got)
	}
	return nil
}

// dd writes a file of size bytes and syncs it, to measure the disk.
func (b *bench) dd(size int64) (sample, error) {
	path := filepath.Join(b.dir, "dd")
	begun := time.Now()
	cmd := exec.CommandContext(b.ctx, "dd", "if=/dev/zero", "of="+path, "bs=1M", fmt.Sprintf("count=%d", size>>20), "conv=fsync", "status=none")
	out, err := cmd.CombinedOutput()
	took := time.Since(begun)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		return sample{}, fmt.Errorf("dd: %w: %s", err, out)
	}
	mebibytes := float64(size) / (1 << 20)
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return sample{mebibytes / took.Seconds(), time.Duration(float64(used) / mebibytes)}, nil
}
