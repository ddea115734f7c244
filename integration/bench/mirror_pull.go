package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pullBuffer is how much a puller reads at once, in bytes.
const pullBuffer = 64 << 10

// pull gets an image by tag, all its blobs at once, and counts the bytes. It returns the time
// of the first byte of a layer. Each blob has its own connection, as with containerd and
// Docker.
func (b *bench) pull(url, repo string, img image) (time.Duration, error) {
	begun := time.Now()
	host := hostOf(url)
	if err := pullManifest(b.ctx, host, repo, img); err != nil {
		return 0, err
	}
	firsts := make([]time.Duration, len(img.blobs))
	errs := make([]error, len(img.blobs))
	var group sync.WaitGroup
	for i := range img.blobs {
		group.Go(func() {
			errs[i] = pulled(b.ctx, host, "/v2/"+repo+"/blobs/"+img.digests[i].String(), func(body io.Reader) error {
				buffer := make([]byte, pullBuffer)
				n, err := body.Read(buffer)
				firsts[i] = time.Since(begun)
				for sum := int64(n); ; sum += int64(n) {
					if err == io.EOF && sum == int64(len(img.blobs[i])) {
						return nil
					} else if err != nil {
						return fmt.Errorf("%d bytes of %d: %w", sum, len(img.blobs[i]), err)
					}
					n, err = body.Read(buffer)
				}
			})
		})
	}
	group.Wait()
	return slices.Min(firsts[1:]), first(errs)
}

func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }

func pullManifest(ctx context.Context, host, repo string, img image) error {
	return pulled(ctx, host, "/v2/"+repo+"/manifests/v1", func(body io.Reader) error {
		got, err := io.ReadAll(body)
		if err == nil && !bytes.Equal(got, img.manifest) {
			err = errors.New("another manifest")
		}
		return err
	})
}

// pulled makes one request on its own connection. It costs less than a client of net/http, to
// leave the cores to the server.
func pulled(ctx context.Context, host, path string, read func(body io.Reader) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nConnection: close\r\n\r\n", path, host, ocispec.MediaTypeImageManifest); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
