package upstream

import (
	"context"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// accept lists every supported type of manifest. It is always sent in full, whatever the
// mirror's own client accepts: the answer is for later clients, too.
var accept = strings.Join([]string{
	ocispec.MediaTypeImageIndex,
	ocispec.MediaTypeImageManifest,
	core.MediaTypeDockerManifestList,
	core.MediaTypeDockerManifest,
	"application/vnd.oci.artifact.manifest.v1+json",
}, ", ")

const schema1 = "application/vnd.docker.distribution.manifest.v1+"

// Answer is an upstream's answer about a manifest.
type Answer struct {
	// Descriptor has size -1 if a HEAD did not say it.
	Descriptor core.Descriptor
	// Bytes is empty after a Head.
	Bytes []byte
	// Anonymous: it was shown to a caller without credentials.
	Anonymous bool

	release func()
}

// Release returns the share of Bytes in the memory budget for manifests of upstreams.
// The caller that asked for a manifest calls it when the bytes are stored or not needed.
func (a Answer) Release() {
	if a.release != nil {
		a.release()
	}
}

// Head asks what ref names. It is bounded by Config.HeadTimeout and does not count as a
// pull. The registry's own refusal of a HEAD proves nothing: it is ErrNoDigest, like an answer
// without a digest, and only Manifest can find out. Errors: also ErrNotFound when no token is
// given for repo; those of trouble.
func (c *Client) Head(ctx context.Context, repo string, ref core.Reference) (Answer, error) {
	var answer Answer
	_, err := c.ask(ctx, question{
		method: http.MethodHead,
		repo:   repo,
		path:   "manifests/" + ref.String(),
		header: http.Header{"Accept": {accept}},
		within: c.config.HeadTimeout,
		unsure: true,
		named:  true,
		read: func(r *reply) error {
			d, err := core.ParseDigest(r.Header.Get("Docker-Content-Digest"))
			if err != nil {
				return r.fail(ErrNoDigest, "no usable Docker-Content-Digest")
			}
			if ref.Digest != "" && d != ref.Digest {
				return r.fail(ErrNoDigest, "HEAD names another digest than requested")
			}
			mediaType, _ := core.ParseMediaType(r.Header.Get("Content-Type")) // a GET will find out
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

// Manifest fetches the manifest that ref names, at most core.MaxManifestSize bytes.
// Digest and size are those of the received bytes. It may count as a pull. The caller
// releases the answer. Errors: also core.ErrUnavailable and core.ErrTooManyRequests when
// the memory for manifests stays taken.
func (c *Client) Manifest(ctx context.Context, repo string, ref core.Reference) (Answer, error) {
	var answer Answer
	_, err := c.ask(ctx, question{
		method: http.MethodGet,
		repo:   repo,
		path:   "manifests/" + ref.String(),
		header: http.Header{"Accept": {accept}},
		pull:   true,
		named:  true,
		read: func(r *reply) (err error) {
			answer, err = r.manifest(ctx, ref)
			return err
		},
	})
	return answer, err
}

// Admits reports whether the registry lets anonymous callers into repo, although it has
// just answered that ref does not exist: nil if an anonymous request, with a new token
// if it needs one, gets the same answer, or ref. An earlier token would not do: the
// repository may have become private since. It may count as a pull. Errors: those of the
// package; ErrDenied or ErrNotFound when such a caller is refused.
func (c *Client) Admits(ctx context.Context, repo string, ref core.Reference) error {
	nobody := c.Anonymous()
	for _, ep := range c.endpoints {
		if m, ok := ep.known(); ok {
			ep.tokens.forget(tokenKey(m, repo, true))
		}
	}
	_, err := nobody.Manifest(ctx, repo, ref)
	if VerdictOf(err) == Gone {
		return nil
	}
	return err
}

// manifest reads a manifest into memory that the answer reserves until it is released.
func (r *reply) manifest(ctx context.Context, ref core.Reference) (Answer, error) {
	data, release, err := r.reserved(ctx, core.MaxManifestSize)
	var answer Answer
	if err == nil {
		answer, err = r.inspect(ref, data)
	}
	if err != nil {
		release()
		return Answer{}, err
	}
	answer.release = release
	return answer, nil
}

// inspect makes the answer of a manifest's bytes, which are passed on if their digest is
// right, even if we cannot read parts of them: clients may not need those either. If the
// registry's type is not one of manifests, or contradicts the bytes, they get a type of
// their own. See core.Document.ServedType.
func (r *reply) inspect(ref core.Reference, data []byte) (Answer, error) {
	doc, invalid := core.Inspect(data)
	if invalid == nil && doc.Kind == core.KindSchema1 && !r.elsewhere {
		// The digest of a signed one is not that of these bytes.
		return Answer{}, r.fail(ErrInvalid, schema1Sentence)
	}
	// The bytes must match a requested or promised digest; only without either we choose
	// the algorithm.
	want, vouched := ref.Digest, true
	if want == "" {
		var err error
		if want, err = core.ParseDigest(r.Header.Get("Docker-Content-Digest")); err != nil {
			want, vouched = digest.FromBytes(data), false
		}
	}
	if got := want.Algorithm().FromBytes(data); got != want {
		return Answer{}, r.fail(ErrCorrupt, "the manifest's digest is "+string(got)+", not "+string(want))
	}
	switch {
	case invalid != nil:
		return Answer{}, r.fail(ErrCorrupt, printable(invalid.Error()))
	case doc.Kind == core.KindSchema1:
		return Answer{}, r.fail(ErrCorrupt, schema1Sentence)
	case doc.Ambiguous != nil:
		return Answer{}, r.fail(ErrCorrupt, printable(doc.Ambiguous.Error()))
	}
	stated, _ := core.ParseMediaType(r.Header.Get("Content-Type")) // an invalid one is ignored
	if !vouched && doc.Kind == core.KindOther && (doc.MediaType == "" || !strings.EqualFold(doc.MediaType, stated)) {
		return Answer{}, r.fail(ErrCorrupt, "it is JSON, but does not look like a manifest")
	}
	return Answer{
		Descriptor: core.Descriptor{MediaType: doc.ServedType(stated), Digest: want, Size: int64(len(data))},
		Bytes:      data,
		Anonymous:  r.anonymous,
	}, nil
}

const schema1Sentence = "the upstream has this image only as Docker schema 1, which is not supported; push it again with a current client"
