package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// downloaders fetch at the same time, each on its own connection.
	downloaders = 8
	// readBuffer is how much a downloader reads at once, in bytes: large, so that it
	// leaves the cores to the server.
	readBuffer = 512 << 10
)

// blobs measures GET of a large blob, in the clear and with TLS.
func (b *bench) blobs() error {
	img := newImage(mathrand.NewChaCha8([32]byte{3}), int(b.size.blob))
	content, d := img.blobs[1], img.digests[1]
	files, err := b.folder("files")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(files, "blob"), content, 0o600); err != nil {
		return err
	}
	certificate, key, err := b.certificate()
	if err != nil {
		return err
	}
	var plain, encrypted []contender
	add := func(list *[]contender, s *server, path string) error {
		if err := s.answers(b.ctx, s.url()+path); err != nil {
			return err
		}
		if _, err := get(s.url()+path, "*/*", content); err != nil {
			return err
		}
		*list = append(*list, contender{s.name, func() (sample, error) { return b.download(s, path) }})
		return nil
	}
	blobPath := "/v2/team/blob/blobs/" + d.String()
	// The two servers of the product take turns over one storage each.
	for _, c := range []struct {
		list *[]contender
		tls  []string
	}{{&plain, nil}, {&encrypted, []string{certificate, key}}} {
		data, err := b.folder("data")
		if err != nil {
			return err
		}
		s, err := b.registry(data, c.tls...)
		if err != nil {
			return err
		}
		if err := s.answers(b.ctx, s.url()+"/v2/_catalog?n=1"); err != nil {
			return err
		}
		if err := img.push(b.ctx, s.url(), "team/blob", "v1", false); err != nil {
			return err
		}
		if err := add(c.list, s, blobPath); err != nil {
			return err
		}
		if s, err = b.fileServer(files, c.tls...); err != nil {
			return err
		}
		if err := add(c.list, s, "/blob"); err != nil {
			return err
		}
	}
	s, err := b.nginxServer(files)
	if err != nil {
		return err
	}
	if err := add(&plain, s, "/blob"); err != nil {
		return err
	}
	if b.distribution != "" {
		if s, err = b.distributionServer(); err != nil {
			return err
		}
		if err := img.push(b.ctx, s.url(), "team/blob", "v1", false); err != nil {
			return err
		}
		if err := add(&plain, s, blobPath); err != nil {
			return err
		}
	}
	title := fmt.Sprintf("GET of a blob of %d MiB, %d at a time", b.size.blob>>20, downloaders)
	if err := b.compare(title+", plain HTTP", "MiB/s", "CPU per MiB", 1, plain); err != nil {
		return err
	}
	return b.compare(title+", TLS 1.3", "MiB/s", "CPU per MiB", 1, encrypted)
}

// download is one turn: every downloader fetches path some times.
func (b *bench) download(s *server, path string) (sample, error) {
	return timed(s.process, func() (float64, error) {
		var group sync.WaitGroup
		errs := make(chan error, downloaders)
		for range downloaders {
			group.Go(func() {
				if err := b.fetch(s, path, b.size.downloads); err != nil {
					errs <- err
				}
			})
		}
		group.Wait()
		close(errs)
		return float64(downloaders*b.size.downloads) * float64(b.size.blob) / (1 << 20), <-errs
	})
}

// fetch gets path some times on one connection and counts the bytes.
func (b *bench) fetch(s *server, path string, times int) error {
	var conn net.Conn
	var err error
	if s.tls {
		conn, err = tls.Dial("tcp", s.host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	} else {
		conn, err = net.Dial("tcp", s.host)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	from, buffer := bufio.NewReader(conn), make([]byte, readBuffer)
	for range times {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, s.host); err != nil {
			return err
		}
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			return err
		}
		// io.Discard alone would use its own small buffer.
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, buffer)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK || n != b.size.blob {
			return fmt.Errorf("GET %s: %s, %d bytes of %d", path, response.Status, n, b.size.blob)
		}
	}
	return nil
}

// certificate makes a certificate for loopback and returns the paths of it and its key.
func (b *bench) certificate() (chain, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	text := func(kind string, der []byte) string {
		var out strings.Builder
		pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}) // a Builder takes everything
		return out.String()
	}
	if chain, err = b.file("chain.pem", text("CERTIFICATE", der)); err != nil {
		return "", "", err
	}
	key, err = b.file("key.pem", text("PRIVATE KEY", keyDER))
	return chain, key, err
}
