package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// StartUpload begins an upload (spec end-4a) and returns its URL.
func (c *Client) StartUpload(ctx context.Context, repo string) (string, error) {
	header, err := c.do(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil, nil, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return c.resolve(header)
}

// AppendUpload sends a chunk that begins at offset and is size bytes long (spec
// end-5), or a stream of unknown length where size is negative. It returns the URL of the next
// request.
func (c *Client) AppendUpload(ctx context.Context, location string, offset, size int64, chunk io.Reader) (string, error) {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if size >= 0 {
		header.Set("Content-Length", strconv.FormatInt(size, 10))
		header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, offset+size-1))
	}
	answer, err := c.do(ctx, http.MethodPatch, location, header, chunk, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return c.resolve(answer)
}

// UploadOffset asks how many bytes of an upload the registry holds (spec end-13).
func (c *Client) UploadOffset(ctx context.Context, location string) (int64, error) {
	header, err := c.do(ctx, http.MethodGet, location, nil, nil, http.StatusNoContent)
	if err != nil {
		return 0, err
	}
	// The header cannot express an empty range: "0-0" is also one byte.
	_, last, found := strings.Cut(header.Get("Range"), "-")
	if !found {
		return 0, fmt.Errorf("GET %s: range %q", location, header.Get("Range"))
	}
	offset, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("GET %s: range %q", location, header.Get("Range"))
	}
	if offset == 0 {
		return 0, nil
	}
	return offset + 1, nil
}

// FinishUpload ends an upload as the blob d (spec end-6). rest has the bytes that have not been
// sent yet, or is nil.
func (c *Client) FinishUpload(ctx context.Context, location string, d digest.Digest, rest io.Reader) error {
	target, err := url.Parse(location)
	if err != nil {
		return err
	}
	query := target.Query()
	query.Set("digest", d.String())
	target.RawQuery = query.Encode()
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	_, err = c.do(ctx, http.MethodPut, target.String(), header, rest, http.StatusCreated)
	return err
}
