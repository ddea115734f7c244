package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// accept is every type of manifest that is supported. All of it is always sent,
// whatever a mirror's own client said: the answer is for the next client too.
var accept = strings.Join([]string{
	ocispec.MediaTypeImageIndex,
	ocispec.MediaTypeImageManifest,
	core.MediaTypeDockerManifestList,
	core.MediaTypeDockerManifest,
	"application/vnd.oci.artifact.manifest.v1+json",
}, ", ")

const schema1 = "application/vnd.docker.distribution.manifest.v1+"

// Answer is what an upstream says about a manifest.
type Answer struct {
	// Descriptor has size -1 where a HEAD did not say it.
	Descriptor core.Descriptor
	// Bytes is empty after a Head.
	Bytes []byte
	// Anonymous: it was shown to a caller without credentials.
	Anonymous bool
}

// Head asks what ref names. It is bounded by Config.HeadTimeout and is no pull. It never
// says no: where it is not answered with a digest, only Manifest can tell.
// Errors: ErrNoDigest for that; ErrNotFound when no token is given for repo; those of
// trouble.
func (c *Client) Head(ctx context.Context, repo string, ref core.Reference) (Answer, error) {
	var answer Answer
	_, err := c.ask(ctx, question{
		method: http.MethodHead,
		repo:   repo,
		path:   "manifests/" + ref.String(),
		header: http.Header{"Accept": {accept}},
		within: c.config.HeadTimeout,
		unsure: true,
		read: func(r *reply) error {
			d, err := core.ParseDigest(r.Header.Get("Docker-Content-Digest"))
			if err != nil {
				return r.fail(ErrNoDigest, "no usable Docker-Content-Digest")
			}
			if ref.Digest != "" && d != ref.Digest {
				return r.fail(ErrNoDigest, "HEAD names another digest than was asked for")
			}
			mediaType, _ := core.ParseMediaType(r.Header.Get("Content-Type")) // a GET finds out
			if strings.HasPrefix(mediaType, schema1) {
				return r.fail(ErrNoDigest, "HEAD says that it is Docker schema 1")
			}
			answer = Answer{
				Descriptor: core.Descriptor{MediaType: mediaType, Digest: d, Size: r.ContentLength},
				Anonymous:  r.anonymous,
			}
			return nil
		},
	})
	return answer, err
}

// Manifest fetches what ref names, at most core.MaxManifestSize bytes. Digest and
// size are those of the received bytes. It may count as a pull.
func (c *Client) Manifest(ctx context.Context, repo string, ref core.Reference) (Answer, error) {
	var answer Answer
	_, err := c.ask(ctx, question{
		method: http.MethodGet,
		repo:   repo,
		path:   "manifests/" + ref.String(),
		header: http.Header{"Accept": {accept}},
		pull:   true,
		read: func(r *reply) (err error) {
			answer, err = r.manifest(ref)
			return err
		},
	})
	return answer, err
}

func (r *reply) manifest(ref core.Reference) (Answer, error) {
	data, err := r.bounded(core.MaxManifestSize)
	if err != nil {
		return Answer{}, err
	}
	// A digest that is asked for, or promised, is held against the bytes; only
	// without either the algorithm is ours to choose.
	want := ref.Digest
	if want == "" {
		if want, err = core.ParseDigest(r.Header.Get("Docker-Content-Digest")); err != nil {
			want = digest.FromBytes(data)
		}
	}
	if got := want.Algorithm().FromBytes(data); got != want {
		return Answer{}, r.fail(ErrCorrupt, "the manifest's digest is "+string(got)+", not "+string(want))
	}
	mediaType := manifestType(r.Header.Get("Content-Type"), data)
	if _, err := core.ParseManifest(mediaType, data); err != nil {
		if isSchema1(data) && !r.elsewhere {
			return Answer{}, r.fail(ErrInvalid, schema1Sentence)
		}
		return Answer{}, r.fail(ErrCorrupt, printable(err.Error()))
	}
	return Answer{
		Descriptor: core.Descriptor{MediaType: mediaType, Digest: want, Size: int64(len(data))},
		Bytes:      data,
		Anonymous:  r.anonymous,
	}, nil
}

const schema1Sentence = "the upstream has this image only as Docker schema 1, which is not supported; push it again with a current client"

// isSchema1 goes by the bytes alone: a page under that type is not schema 1.
func isSchema1(data []byte) bool {
	var doc struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	return json.Unmarshal(data, &doc) == nil && doc.SchemaVersion == 1
}

// manifestType is the Content-Type, or what the manifest says of itself where a
// plain file server stands in front of the upstream.
func manifestType(contentType string, data []byte) string {
	t, err := core.ParseMediaType(contentType)
	if err == nil && t != "application/json" && t != "text/plain" && t != "application/octet-stream" {
		return t
	}
	var doc struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	switch err := json.Unmarshal(data, &doc); {
	case err == nil && doc.MediaType != "":
		return doc.MediaType
	case err == nil && doc.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// bounded reads the whole body. Errors: ErrTooLarge beyond most bytes.
func (r *reply) bounded(most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, r.fail(ErrTooLarge, "it says that it is larger than its kind may be")
	}
	var data bytes.Buffer
	n, err := data.ReadFrom(io.LimitReader(r, most+1))
	if err == nil && n > most {
		err = r.fail(ErrTooLarge, "it goes on beyond what its kind may be")
	}
	return data.Bytes(), err
}
