package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
)

// maxRefusal bounds what is read of an answer that is an error, in bytes.
const maxRefusal = 64 << 10

// Push pushes the image with an API key, and returns the digest of what the tag names. If
// there is such a tag already it pushes nothing, and reports that.
func (p *Plan) Push(ctx context.Context, key string) (named digest.Digest, there bool, err error) {
	img, err := newImage()
	if err != nil {
		return "", false, err
	}
	c := &client{plan: p, http: p.client(), key: key}
	defer c.http.CloseIdleConnections()
	named, there, err = c.tagged(ctx)
	if err != nil || there {
		return named, there, err
	}
	for _, blob := range img.blobs {
		if err := c.send(ctx, http.MethodPost, "/blobs/uploads/?digest="+blob.Digest.String(), "application/octet-stream", blob.bytes); err != nil {
			return "", false, err
		}
	}
	for _, manifest := range img.manifests {
		if err := c.send(ctx, http.MethodPut, "/manifests/"+manifest.Digest.String(), manifest.MediaType, manifest.bytes); err != nil {
			return "", false, err
		}
	}
	return img.index.Digest, false, c.send(ctx, http.MethodPut, "/manifests/"+imageTag, img.index.MediaType, img.index.bytes)
}

// client sends requests about one repository.
type client struct {
	plan *Plan
	http *http.Client
	key  string
}

// tagged returns what the tag names, and whether there is one.
func (c *client) tagged(ctx context.Context) (digest.Digest, bool, error) {
	response, err := c.do(ctx, http.MethodHead, "/manifests/"+imageTag, "", nil)
	if err != nil {
		return "", false, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusNotFound:
		return "", false, nil
	case http.StatusOK:
		named, err := digest.Parse(response.Header.Get("Docker-Content-Digest"))
		if err != nil {
			return "", false, fmt.Errorf("%s answers without a digest: is it a registry?", c.plan.Base)
		}
		return named, true, nil
	}
	return "", false, c.refusal(response)
}

// send makes a request that creates something.
func (c *client) send(ctx context.Context, method, path, mediaType string, body []byte) error {
	response, err := c.do(ctx, method, path, mediaType, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return c.refusal(response)
	}
	return nil
}

func (c *client) do(ctx context.Context, method, path, mediaType string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.plan.Base.String()+"/v2/"+c.plan.Repository+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Accept", "*/*")
	if mediaType != "" {
		request.Header.Set("Content-Type", mediaType)
	}
	response, err := c.http.Do(request)
	if failed := new(url.Error); errors.As(err, &failed) {
		err = failed.Err // the rest of it is the URL again
	}
	if err != nil {
		return nil, fmt.Errorf("push to %s: %w", c.plan.Base, err)
	}
	return response, nil
}

// refusal is a sentence of an answer that is an error.
func (c *client) refusal(response *http.Response) error {
	var refused struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	data, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if json.Unmarshal(data, &refused) == nil && len(refused.Errors) > 0 && refused.Errors[0].Message != "" {
		return fmt.Errorf("%s refused the push to %s: %s", c.plan.Base, c.plan.Repository, refused.Errors[0].Message)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s refused the key with %s; does the running registry have this configuration? `caddy-registry reload` loads it", c.plan.Base, response.Status)
	case http.StatusOK:
		return errors.New(c.plan.Base.String() + " answers, but is not a registry")
	}
	return fmt.Errorf("%s refused the push to %s with %s", c.plan.Base, c.plan.Repository, response.Status)
}
