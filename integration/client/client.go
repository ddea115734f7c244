// Package client speaks the distribution protocol one request at a time, so that a test
// controls what is sent, how slowly, and where it breaks off. Other tests run the real clients;
// this one exists for what they cannot do: stop in the middle, and know exactly what was
// acknowledged.
//
//	c := client.New(s.URL)
//	d, err := c.PushBlob(ctx, "team/app", content)
//
// An answer that the protocol does not specify is a *StatusError.
package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/integration/server"
	"github.com/opencontainers/go-digest"
)

// Client is one registry, seen by a client. It is safe for concurrent use.
type Client struct {
	base string
	host string
	user string
	pass string
	http *http.Client
}

// New is a client of the registry at base, a URL without a path. Its requests have
// no other limit than their context.
func New(base string) *Client {
	return &Client{base: base, http: server.Client(0)}
}

// As makes the client call the registry by another name than the base's, as the
// Host of its requests, and returns it. It must be called before the first request.
func (c *Client) As(host string) *Client {
	c.host = host
	return c
}

// Login makes the client's requests carry Basic credentials, and returns it. It must be
// called before the first request.
func (c *Client) Login(user, password string) *Client {
	c.user, c.pass = user, password
	return c
}

// Close drops the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer that was not wanted.
type StatusError struct {
	Method, Path string
	Status       int
	// Body is the beginning of the answer, at most 4 KiB.
	Body string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: status %d: %s", e.Method, e.Path, e.Status, e.Body)
}

// Request sends one request and returns the answer if its status is want. A target
// without a scheme is a path of the registry. The caller closes the body.
func (c *Client) Request(ctx context.Context, method, target string, header http.Header, body io.Reader, want int) (*http.Response, error) {
	if strings.HasPrefix(target, "/") {
		target = c.base + target
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	request.Host = c.host
	if c.user != "" {
		request.SetBasicAuth(c.user, c.pass)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if length := header.Get("Content-Length"); length != "" {
		if request.ContentLength, err = strconv.ParseInt(length, 10, 64); err != nil {
			return nil, err
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != want {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		return nil, &StatusError{method, request.URL.Path, response.StatusCode, string(text)}
	}
	return response, nil
}

// do is Request for answers whose body does not matter.
func (c *Client) do(ctx context.Context, method, target string, header http.Header, body io.Reader, want int) (http.Header, error) {
	response, err := c.Request(ctx, method, target, header, body, want)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return response.Header, nil
}

// get reads an answer of at most a few MiB, and checks its digest d.
func (c *Client) get(ctx context.Context, target string, header http.Header, d digest.Digest) ([]byte, http.Header, error) {
	response, err := c.Request(ctx, http.MethodGet, target, header, nil, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("GET %s: %w", target, err)
	}
	if d == "" {
		d = digest.Digest(response.Header.Get("Docker-Content-Digest"))
	}
	if got := d.Algorithm().FromBytes(content); got != d {
		return nil, nil, fmt.Errorf("GET %s: content is %s, want %s", target, got, d)
	}
	return content, response.Header, nil
}

// Blob reads a blob into memory and verifies it.
func (c *Client) Blob(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	content, _, err := c.get(ctx, "/v2/"+repo+"/blobs/"+d.String(), nil, d)
	return content, err
}

// Manifest reads the manifest that a tag or digest names and verifies it against
// the digest, or against the one that the answer claims. It also returns its
// media type.
func (c *Client) Manifest(ctx context.Context, repo, ref string) ([]byte, string, error) {
	var d digest.Digest
	if strings.Contains(ref, ":") {
		d = digest.Digest(ref)
	}
	content, header, err := c.get(ctx, "/v2/"+repo+"/manifests/"+ref, http.Header{"Accept": {"*/*"}}, d)
	if err != nil {
		return nil, "", err
	}
	return content, header.Get("Content-Type"), nil
}

// PutManifest pushes a manifest by tag or digest.
func (c *Client) PutManifest(ctx context.Context, repo, ref, mediaType string, content []byte) error {
	header := http.Header{"Content-Type": {mediaType}}
	_, err := c.do(ctx, http.MethodPut, "/v2/"+repo+"/manifests/"+ref, header, bytes.NewReader(content), http.StatusCreated)
	return err
}

// DeleteManifest deletes the manifest with a digest, or only a tag.
func (c *Client) DeleteManifest(ctx context.Context, repo, ref string) error {
	_, err := c.do(ctx, http.MethodDelete, "/v2/"+repo+"/manifests/"+ref, nil, nil, http.StatusAccepted)
	return err
}

// PushBlob uploads content by POST and PUT.
func (c *Client) PushBlob(ctx context.Context, repo string, content []byte) (digest.Digest, error) {
	d := digest.FromBytes(content)
	location, err := c.StartUpload(ctx, repo)
	if err != nil {
		return "", err
	}
	return d, c.FinishUpload(ctx, location, d, bytes.NewReader(content))
}

// resolve makes the Location of an answer absolute. It may be a path only.
func (c *Client) resolve(header http.Header) (string, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return "", err
	}
	location, err := base.Parse(header.Get("Location"))
	if err != nil {
		return "", fmt.Errorf("location of the upload: %w", err)
	}
	return location.String(), nil
}
