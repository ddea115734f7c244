package main

import (
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
)

// verifiedBlobs is how many blobs a storage holds that is verified while one of them is
// downloaded: at 20 MiB a second a run lasts for all turns.
const verifiedBlobs = 8

// verify measures GET of a large blob while the run in the background reads everything.
func (b *bench) verify() error {
	var list []contender
	var verifying *server
	for _, c := range []struct{ name, options string }{
		{"with verify at 20MiB", "verify {\nevery 7d\nrate 20MiB\n}"},
		{"without", ""},
	} {
		data, err := b.folder("data")
		if err != nil {
			return err
		}
		s, err := b.registry(data)
		if err != nil {
			return err
		}
		if err := s.answers(b.ctx, s.url()+"/v2/_catalog?n=1"); err != nil {
			return err
		}
		var path string
		for seed := range verifiedBlobs {
			img := newImage(mathrand.NewChaCha8([32]byte{4, byte(seed)}), int(b.size.blob))
			if err := img.push(b.ctx, s.url(), "team/blob", fmt.Sprint("v", seed), false); err != nil {
				return err
			}
			path = "/v2/team/blob/blobs/" + img.digests[1].String()
		}
		if err := s.stop(); err != nil {
			return err
		}
		// A run begins with the start, as none has ended yet.
		if s, err = b.caddy(c.name, fmt.Sprintf("oci {\nstorage file %q\n%s\npolicy {\nallow anonymous *\n}\n}", data, c.options),
			"metrics /metrics\noci_registry", nil); err != nil {
			return err
		}
		if err := s.answers(b.ctx, s.url()+path); err != nil {
			return err
		}
		if c.options != "" {
			verifying = s
		}
		list = append(list, contender{c.name, func() (sample, error) { return b.download(s, path) }})
	}
	title := fmt.Sprintf("GET of a blob of %d MiB, %d at a time", b.size.blob>>20, downloaders)
	if err := b.compare(title, "MiB/s", "CPU per MiB", 1, list); err != nil || b.size == quick {
		return err
	}
	response, err := http.Get(verifying.url() + "/metrics")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err == nil && strings.Contains(string(metrics), "\nregistry_verify_last_finished_timestamp_seconds ") {
		err = errors.New("the verification ended before the last turn; it needs more blobs")
	}
	return err
}
