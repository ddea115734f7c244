package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// client speaks to every server. It believes any certificate: ours is made for the run.
var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
	MaxIdleConnsPerHost: 256,
	DisableCompression:  true,
}}

// image has the content that one push sends.
type image struct {
	blobs    [][]byte // the config, then the layers
	digests  []digest.Digest
	manifest []byte
}

const (
	smallLayers = 3
	smallLayer  = 16 << 10 // bytes
	smallConfig = 1 << 10  // bytes
)

// newImage makes an image that no registry has: the layers are random.
func newImage(random *rand.ChaCha8, layers ...int) image {
	var img image
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i, size := range append([]int{smallConfig}, layers...) {
		data := make([]byte, size)
		random.Read(data)
		d := digest.FromBytes(data)
		img.blobs, img.digests = append(img.blobs, data), append(img.digests, d)
		if i == 0 {
			m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: d, Size: int64(size)}
		} else {
			m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: int64(size)})
		}
	}
	var err error
	if img.manifest, err = json.Marshal(m); err != nil {
		panic(err) // strings and numbers only
	}
	return img
}

func (img image) digest() digest.Digest { return digest.FromBytes(img.manifest) }

// push sends an image as containerd, oras and regctl do: for each blob HEAD, POST and
// one PUT, then the manifest. Together means that all blobs are on their way at once,
// as those clients have them; otherwise one after the other.
func (img image) push(ctx context.Context, url, repo, tag string, together bool) error {
	if !together {
		for i := range img.blobs {
			if err := pushBlob(ctx, url, repo, img.digests[i], bytes.NewReader(img.blobs[i]), int64(len(img.blobs[i]))); err != nil {
				return err
			}
		}
		return putManifest(ctx, url, repo, tag, ocispec.MediaTypeImageManifest, img.manifest)
	}
	var group sync.WaitGroup
	errs := make([]error, len(img.blobs))
	for i := range img.blobs {
		group.Go(func() {
			errs[i] = pushBlob(ctx, url, repo, img.digests[i], bytes.NewReader(img.blobs[i]), int64(len(img.blobs[i])))
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return putManifest(ctx, url, repo, tag, ocispec.MediaTypeImageManifest, img.manifest)
}

func pushBlob(ctx context.Context, url, repo string, d digest.Digest, body io.Reader, size int64) error {
	blobs := url + "/v2/" + repo + "/blobs/"
	if _, err := ask(ctx, http.MethodHead, blobs+d.String(), "", nil, 0, http.StatusNotFound); err != nil {
		return err
	}
	answer, err := ask(ctx, http.MethodPost, blobs+"uploads/", "", nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err := answer.Location()
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", d.String())
	location.RawQuery = query.Encode()
	_, err = ask(ctx, http.MethodPut, location.String(), "application/octet-stream", body, size, http.StatusCreated)
	return err
}

func putManifest(ctx context.Context, url, repo, reference, mediaType string, body []byte) error {
	_, err := ask(ctx, http.MethodPut, url+"/v2/"+repo+"/manifests/"+reference, mediaType,
		bytes.NewReader(body), int64(len(body)), http.StatusCreated)
	return err
}

// ask makes one request and drops the body of the answer. Errors: also any other status than
// want.
func ask(ctx context.Context, method, url, contentType string, body io.Reader, size int64, want int) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, url, response.Status, text)
	}
	return response, nil
}
