package store

import (
	"context"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Content is what lies under one digest, and which repositories hold it, as a blob or
// as a manifest, in order.
type Content struct {
	Digest digest.Digest
	Size   int64 // bytes
	Repos  []string
}

// Contents yields all the content of the store in the order of digests. It merges the
// lists of content and of links and reads no object, so it needs no memory to speak
// of; on a local disk it costs a look at each file.
func (s *Store) Contents(ctx context.Context) iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		links, manifests := s.follow(ctx, linksPrefix), s.follow(ctx, manifestsPrefix)
		defer links.stop()
		defer manifests.stop()
		for info, err := range s.bucket.List(ctx, blobsPrefix, "") {
			if err != nil {
				yield(Content{}, err)
				return
			}
			d, _, ok := splitContent(info.Key, blobsPrefix)
			if !ok {
				continue
			}
			c := Content{Digest: d, Size: info.Size}
			for _, f := range []*following{links, manifests} {
				if c.Repos, err = f.upTo(d, c.Repos); err != nil {
					yield(Content{}, err)
					return
				}
			}
			slices.Sort(c.Repos)
			c.Repos = slices.Compact(c.Repos)
			if !yield(c, nil) {
				return
			}
		}
	}
}

// following walks over the digest-major keys of a kind, in step with the content.
type following struct {
	prefix string
	next   func() (bucket.Info, error, bool)
	stop   func()
	ahead  bucket.Info // read, and not used yet
	has    bool
}

func (s *Store) follow(ctx context.Context, prefix string) *following {
	f := &following{prefix: prefix}
	f.next, f.stop = iter.Pull2(s.bucket.List(ctx, prefix, ""))
	return f
}

// upTo appends the repositories that hold d. It leaves behind what sorts before d,
// which is content that is gone.
func (f *following) upTo(d digest.Digest, repos []string) ([]string, error) {
	for {
		if !f.has {
			info, err, more := f.next()
			if err != nil || !more {
				return repos, err
			}
			f.ahead, f.has = info, true
		}
		held, component, ok := splitContent(f.ahead.Key, f.prefix)
		if ok && content(held) > content(d) {
			return repos, nil
		}
		f.has = false
		if ok && held == d && component != "" {
			repos = append(repos, unflat(component))
		}
	}
}
