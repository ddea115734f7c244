// Package remote reads another registry over the distribution protocol, as a transfer.Source.
// go-containerregistry speaks the protocol: pages, challenges, tokens and retries.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/transfer"
)

const (
	// together is how many tags of a repository are resolved at once.
	together = 8
	// maxTags bounds the tags of a repository, and maxRepositories the names of a registry:
	// they are held in memory.
	maxTags, maxRepositories = 100_000, 100_000
	// headerLimit is how long the registry may take to begin an answer.
	headerLimit = time.Minute
	// stallLimit is how long it may send nothing in the middle of one.
	stallLimit = time.Minute
)

// Config says which registry is read, and as whom.
type Config struct {
	// Host is the registry's, with a port if it is not the usual one: registry.example.org.
	Host string `json:"host"`
	// Globs choose repositories. Without any the registry is asked for all, which some do
	// not answer; patterns that are names are taken as they are, without that question.
	Globs []string `json:"globs,omitempty"`
	// Auth are the credentials; the zero value is an anonymous caller.
	Auth authn.AuthConfig `json:"auth"`
	// PlainHTTP asks without TLS.
	PlainHTTP bool `json:"plain_http,omitempty"`
	// UserAgent is sent with each request.
	UserAgent string `json:"user_agent,omitempty"`
}

// Registry is another registry. It implements transfer.Source.
type Registry struct {
	registry name.Registry
	globs    globs.Globs
	puller   *remote.Puller
	options  []remote.Option
}

var _ transfer.Source = (*Registry)(nil)

// Open prepares to read a registry, and asks it nothing yet. Errors: of a host or a pattern
// that is none.
func Open(c Config) (*Registry, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = headerLimit
	base.MaxIdleConnsPerHost = together
	return over(c, base)
}

// over is Open with the transport to other machines.
func over(c Config, base http.RoundTripper) (*Registry, error) {
	options := []name.Option{name.StrictValidation}
	if c.PlainHTTP {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(c.Host, options...)
	if err != nil {
		return nil, err
	}
	chosen, err := globs.Parse(c.Globs...)
	if err != nil {
		return nil, err
	}
	asked := []remote.Option{remote.WithTransport(bounded{base}), remote.WithAuth(authn.FromConfig(c.Auth)), remote.WithUserAgent(c.UserAgent)}
	puller, err := remote.NewPuller(asked...)
	if err != nil {
		return nil, err
	}
	return &Registry{registry, chosen, puller, append(asked, remote.Reuse(puller))}, nil
}

// Close has nothing to release.
func (r *Registry) Close() error { return nil }

// Repositories yields the names that the patterns choose.
func (r *Registry) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if names := r.names(); names != nil {
			for _, one := range names {
				if !yield(one, nil) {
					return
				}
			}
			return
		}
		pages, err := r.puller.Catalogger(ctx, r.registry)
		if err != nil {
			yield("", fmt.Errorf("%w; name the repositories, if this registry does not list them", err))
			return
		}
		for found := 0; pages.HasNext(); {
			page, err := pages.Next(ctx)
			if err != nil {
				yield("", fmt.Errorf("%w; name the repositories, if this registry does not list them", err))
				return
			}
			for _, one := range page.Repos {
				if found++; found > maxRepositories {
					yield("", fmt.Errorf("the registry lists more than %d repositories; choose some by patterns", maxRepositories))
					return
				}
				if (len(r.globs) == 0 || r.globs.Match(one)) && !yield(one, nil) {
					return
				}
			}
		}
	}
}

// names are the patterns if each is a name, and nil otherwise.
func (r *Registry) names() []string {
	for _, one := range r.globs {
		if _, err := core.ParseName(one); err != nil {
			return nil
		}
	}
	return r.globs
}

// repository is one of the registry's.
func (r *Registry) repository(repo string) name.Repository {
	return r.registry.Repo(strings.Split(repo, "/")...)
}

// Images resolves each tag, and adds what refers to the images. The protocol lists no other
// manifests without a tag, and no times.
func (r *Registry) Images(ctx context.Context, repo string) ([]transfer.Image, error) {
	tags, err := r.tags(ctx, repo)
	if err != nil {
		return nil, err
	}
	named := make([]transfer.Image, len(tags))
	if err := each(ctx, tags, func(ctx context.Context, i int, tag string) (err error) {
		named[i], err = r.resolve(ctx, repo, tag)
		return err
	}); err != nil {
		return nil, err
	}
	images := merge(nil, named)
	referrers := make([][]transfer.Image, len(images))
	if err := each(ctx, images, func(ctx context.Context, i int, image transfer.Image) (err error) {
		referrers[i], err = r.referrers(ctx, repo, image.Digest)
		return err
	}); err != nil {
		return nil, err
	}
	return merge(images, slices.Concat(referrers...)), nil
}

// each calls do for the elements of all, a few at a time.
func each[E any](ctx context.Context, all []E, do func(ctx context.Context, i int, one E) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i, one := range all {
		group.Go(func() error { return do(ctx, i, one) })
	}
	return group.Wait()
}

// merge adds more to images, of which each has another digest. A tag that named nothing is left
// out.
func merge(images, more []transfer.Image) []transfer.Image {
	at := map[digest.Digest]int{}
	for i, image := range images {
		at[image.Digest] = i
	}
	for _, image := range more {
		i, ok := at[image.Digest]
		switch {
		case image.Digest == "":
		case ok:
			images[i].Tags = append(images[i].Tags, image.Tags...)
		default:
			at[image.Digest] = len(images)
			images = append(images, image)
		}
	}
	return images
}

func (r *Registry) tags(ctx context.Context, repo string) (tags []string, err error) {
	pages, err := r.puller.Lister(ctx, r.repository(repo))
	if err != nil {
		return nil, err
	}
	for pages.HasNext() {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		if tags = append(tags, page.Tags...); len(tags) > maxTags {
			return nil, fmt.Errorf("more than %d tags", maxTags)
		}
	}
	return tags, nil
}

// resolve asks what a tag names. A tag that has gone meanwhile names nothing.
func (r *Registry) resolve(ctx context.Context, repo, tag string) (transfer.Image, error) {
	ref := r.repository(repo).Tag(tag)
	head, err := r.puller.Head(ctx, ref)
	if err != nil {
		got, gotErr := r.puller.Get(ctx, ref) // some registries answer no HEAD
		if absent(gotErr) {
			return transfer.Image{}, nil
		} else if gotErr != nil {
			return transfer.Image{}, fmt.Errorf("tag %s: %w", tag, gotErr)
		}
		head = &got.Descriptor
	}
	return transfer.Image{
		Digest: digest.Digest(head.Digest.String()), MediaType: string(head.MediaType), Tags: []transfer.Tag{{Name: tag}},
	}, nil
}

// referrers returns what refers to an image. A registry that knows no referrers has none.
func (r *Registry) referrers(ctx context.Context, repo string, d digest.Digest) ([]transfer.Image, error) {
	index, err := remote.Referrers(r.repository(repo).Digest(string(d)), append(slices.Clip(r.options), remote.WithContext(ctx))...)
	if err != nil {
		return nil, fmt.Errorf("what refers to %s: %w", d, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("what refers to %s: %w", d, err)
	}
	var images []transfer.Image
	for _, one := range list.Manifests {
		images = append(images, transfer.Image{Digest: digest.Digest(one.Digest.String()), MediaType: string(one.MediaType)})
	}
	return images, nil
}

// Manifest implements transfer.Source.
func (r *Registry) Manifest(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	got, err := r.puller.Get(ctx, r.repository(repo).Digest(string(d)))
	switch {
	case absent(err):
		return nil, fmt.Errorf("%w: %s", transfer.ErrAbsent, d)
	case err != nil:
		return nil, err
	case len(got.Manifest) > core.MaxManifestSize:
		return nil, fmt.Errorf("%w: %s", core.ErrManifestTooLarge, d)
	}
	return got.Manifest, nil
}

// Blob implements transfer.Source.
func (r *Registry) Blob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	layer, err := r.puller.Layer(ctx, r.repository(repo).Digest(string(d)))
	if err != nil {
		return nil, 0, err
	}
	body, err := layer.Compressed()
	if absent(err) {
		return nil, 0, fmt.Errorf("%w: %s", transfer.ErrAbsent, d)
	}
	return body, -1, err
}

// absent reports whether the registry does not have what it was asked for.
func absent(err error) bool {
	answer, ok := errors.AsType[*transport.Error](err)
	return ok && answer.StatusCode == http.StatusNotFound
}
